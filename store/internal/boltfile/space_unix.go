//go:build linux || freebsd || netbsd

package boltfile

import (
	"math"
	"syscall"
)

// addressSpace returns the limit of the process's address space in bytes (ulimit -v).
func addressSpace() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_AS, &l) != nil {
		return math.MaxUint64
	}
	return uint64(l.Cur)
}
