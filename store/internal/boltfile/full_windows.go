package boltfile

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that the disk or the quota is full: ERROR_DISK_FULL or
// ERROR_HANDLE_DISK_FULL.
func isFull(err error) bool {
	return errors.Is(err, syscall.Errno(112)) || errors.Is(err, syscall.Errno(39))
}

// whyFull returns err, whose text is plain.
func whyFull(err error) error { return err }
