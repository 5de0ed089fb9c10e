//go:build unix

package git

import (
	"errors"
	"os"
	"syscall"
)

// errLocked says that somebody else holds the lock.
var errLocked = errors.New("locked")

// tryLock takes the lock that goes with the open file: whoever inherits the file holds it too.
func tryLock(f *os.File) error {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// unlock frees the lock also for those who inherited it, such as a credential daemon that git started.
func unlock(f *os.File) { _ = flock(f, syscall.LOCK_UN) }

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var flockErr error
	if err := conn.Control(func(fd uintptr) { flockErr = syscall.Flock(int(fd), how) }); err != nil {
		return err
	}
	return flockErr
}
