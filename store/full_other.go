//go:build !windows

package store

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that the disk, or the quota, or what the process may write has no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
