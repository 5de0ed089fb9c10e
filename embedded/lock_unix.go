//go:build unix

package embedded

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock that goes with the open file. Whoever inherits the file holds it too, so a server that outlives its parent
// keeps its folder.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errFolderInUse
	}
	return err
}
