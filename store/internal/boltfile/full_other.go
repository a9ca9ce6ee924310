//go:build !windows

package boltfile

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that the disk is full, or a quota or the file size limit is
// reached.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
