package store

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that the disk, or the quota, has no room: ERROR_DISK_FULL and
// ERROR_HANDLE_DISK_FULL.
func isFull(err error) bool {
	return errors.Is(err, syscall.Errno(112)) || errors.Is(err, syscall.Errno(39))
}
