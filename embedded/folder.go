package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// errFolderInUse says that another server has the data folder. Two servers on one append-only file would make one history of two,
// with every object in it twice.
var errFolderInUse = errors.New("the data folder is in use by another server")

// folderPatience is how long a start waits for the folder of a server whose parent was killed a moment ago and that is just ending.
const folderPatience = 3 * time.Second

// lockFolder takes the folder for a server. The returned file holds it until it is closed by everybody who has it open.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the folder is the one that the user names
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, folderPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if err = tryLock(f); err == nil {
			return f, nil
		}
		select {
		case <-again.C:
			if errors.Is(err, errFolderInUse) {
				continue
			}
		case <-ctx.Done():
		}
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
}
