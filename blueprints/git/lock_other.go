//go:build !unix

package git

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked")

// Without flock, only the object lock keeps two runs apart.

func tryLock(*os.File) error { return nil }

func unlock(*os.File) {}
