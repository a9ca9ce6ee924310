//go:build !(linux || freebsd || netbsd)

package boltfile

import "math"

// addressSpace returns the limit of the process's address space in bytes: it is not known here.
func addressSpace() uint64 { return math.MaxUint64 }
