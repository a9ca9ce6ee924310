package boltfile

import (
	"os"
	"strconv"
	"syscall"
)

// isAt reports whether the kernel knows the open file by this path, which is absolute and free of
// links. It notices every unlink, move and replacement on this machine. A stat would notice them
// too, but it asks for the times of the file, and the next write then has to bring those up to date
// on disk: around each commit that made a lone Put a tenth slower.
func isAt(fd *os.File, path string) bool {
	var b [4096]byte // PATH_MAX
	n, err := syscall.Readlink("/proc/self/fd/"+strconv.Itoa(int(fd.Fd())), b[:])
	return err == nil && string(b[:n]) == path
}
