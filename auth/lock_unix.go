//go:build unix

package auth

import (
	"os"
	"syscall"
)

// lockFolder waits for the lock that goes with a folder. It leaves no file behind.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir) //nolint:gosec // the folder is the one of the file that the operator names
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// keepOwner gives a file the owner of the one that it is to replace, if we may: a server that runs as somebody else goes on reading it.
func keepOwner(f *os.File, old os.FileInfo) {
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(stat.Uid), int(stat.Gid))
	}
}
