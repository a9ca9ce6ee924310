//go:build !windows

package boltfile

import (
	"errors"
	"fmt"
	"syscall"
)

// isFull reports whether err says that the disk is full, or a quota or the file size limit is
// reached.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// whyFull adds to an error of isFull what is not plain from its text.
func whyFull(err error) error {
	if errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("the process may not make larger files (ulimit -f): %w", err)
	}
	return err
}
