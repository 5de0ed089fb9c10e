package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// EnvServer names the environment variable that holds the server binary to use: a path, or a name looked up on PATH.
const EnvServer = "DRYDOCK_REDIS_SERVER"

// ErrNoServer is returned when this machine has no redis-server or valkey-server binary.
var ErrNoServer = errors.New("no redis-server or valkey-server found: install one, or set " + EnvServer + " to its path")

// FindServer returns the path of the server binary: the one named by [EnvServer] if that is set, else redis-server, else
// valkey-server, each looked for on PATH and then in the usual folders, which a login shell's PATH often lacks. It does not run the
// binary. The error matches [ErrNoServer].
func FindServer() (string, error) {
	if name := os.Getenv(EnvServer); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%w (%s: %w)", ErrNoServer, EnvServer, err)
		}
		return path, nil
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		for _, dir := range []string{"", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", ErrNoServer
}
