package peers

import (
	"os"
	"syscall"
)

// syncData is the cheapest sync that makes appended data safe.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
