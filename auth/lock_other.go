//go:build !unix

package auth

import "os"

// Without flock nothing keeps two edits apart.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }

// Without Unix owners there is nothing to keep.
func keepOwner(*os.File, os.FileInfo) {}
