//go:build !linux

package boltfile

import "os"

// isAt reports whether it is certain without a stat that the path names the open file: never, here.
func isAt(*os.File, string) bool { return false }
