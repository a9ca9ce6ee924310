//go:build !unix

package boltfile

import "os"

// giveOwner gives a new file the owner of another file: here files have none that it knows of.
func giveOwner(*os.File, os.FileInfo) error { return nil }
