package store

import (
	"os"
	"strconv"
	"syscall"
)

// isAt reports whether the kernel knows an open file by that path, which is absolute and free of links.
// It is told of a file that was unlinked, moved or replaced, whoever did it on this machine. A stat would
// tell as much, but asks for the times of the file, which the next write then has to bring up to date on
// disk: around each commit that cost a lone Put a tenth.
func isAt(fd *os.File, path string) bool {
	var b [4096]byte // PATH_MAX
	n, err := syscall.Readlink("/proc/self/fd/"+strconv.Itoa(int(fd.Fd())), b[:])
	return err == nil && string(b[:n]) == path
}
