package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what the process has used, user and system, in seconds.
func cpuTime() float64 {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return math.NaN()
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// bytesWritten is what the process has given to write calls.
func bytesWritten() float64 { return field("/proc/self/io", "wchar:") }

// resident returns the resident set in bytes, mapped pages of files included, and its part that is
// not of files.
func resident() (all, anonymous float64) {
	return 1024 * field("/proc/self/status", "VmRSS:"), 1024 * field("/proc/self/status", "RssAnon:")
}

// field returns the number behind a name in one of the kernel's files; NaN: there is none.
func field(path, name string) float64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return math.NaN()
	}
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		if words := strings.Fields(in.Text()); len(words) > 1 && words[0] == name {
			if n, err := strconv.ParseFloat(words[1], 64); err == nil {
				return n
			}
		}
	}
	return math.NaN()
}

// evict has the kernel drop the cached pages of the file at path, which nobody may have mapped.
func evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fdatasync(int(f.Fd())); err != nil { // dirty pages stay
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// loadAverage is how many threads wanted to run in the last minute, others' included.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if words := strings.Fields(string(b)); err == nil && len(words) > 0 {
		return words[0]
	}
	return "unknown"
}

// mark is a system call that does nothing, to be seen by strace.
func mark() { unix.Getppid() }

// systemFacts returns what a reader wants to know of the machine.
func systemFacts(dir string) []string {
	var facts []string
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		facts = append(facts, "Linux "+unix.ByteSliceToString(u.Release[:]))
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		facts = append(facts, fileSystem(int64(fs.Type)))
	}
	if d, err := syncTime(dir); err == nil {
		facts = append(facts, fmt.Sprintf("one append and fdatasync takes %s ms", millis(d.Seconds())))
	}
	return facts
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "XFS"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "**tmpfs, which syncs to nowhere: choose another -dir**"
	}
	return fmt.Sprintf("file system %#x", magic)
}

// syncTime is the median time of appending 512 bytes and syncing them.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []float64
	for range 100 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 512)); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(began)))
	}
	return time.Duration(median(times)), nil
}
