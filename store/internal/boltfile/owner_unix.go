//go:build unix

package boltfile

import (
	"fmt"
	"os"
	"syscall"
)

// giveOwner gives a new file the user and the group of another file. Only root can give it another
// user.
func giveOwner(to *os.File, of os.FileInfo) error {
	info, err := to.Stat()
	if err != nil {
		return err
	}
	want, ok := of.Sys().(*syscall.Stat_t)
	has, okHas := info.Sys().(*syscall.Stat_t)
	if !ok || !okHas || has.Uid == want.Uid && has.Gid == want.Gid {
		return nil
	}
	if err := to.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("giving it the owner %d:%d: %w", want.Uid, want.Gid, withoutPath(err))
	}
	return nil
}
