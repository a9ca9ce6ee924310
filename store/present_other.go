//go:build !linux

package store

import "os"

// isAt reports whether it is certain, without a stat, that the path still names the open file.
func isAt(*os.File, string) bool { return false }
