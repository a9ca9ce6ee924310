package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"strings"
)

// A trace is what strace saw between the first mark and the last.
type trace struct {
	marks   int
	syncs   int // begun
	durable int // marks, after the first, at which nothing written since the one before was left to sync
}

// readTrace reads what strace -f -y wrote. Writes count if they go to files in dir. A write
// counts from its beginning, a sync from its end, and it covers only the file it names.
func readTrace(r io.Reader, dir string) (trace, error) {
	var t trace
	dirty := map[string]bool{}        // files written and not synced
	unfinished := map[string]string{} // by thread, the file whose sync has begun
	pending, syncs := false, 0        // since the last mark
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		// 4711  fdatasync(5</data/outbox.db>) = 0
		thread, call, ok := strings.Cut(in.Text(), " ")
		if !ok {
			return t, fmt.Errorf("strace: a line without a call: %q", in.Text())
		}
		call = strings.TrimSpace(call)
		name, rest, _ := strings.Cut(call, "(")
		_, file, _ := strings.Cut(rest, "<")
		file, _, _ = strings.Cut(file, ">")
		switch {
		case name == "getppid":
			if t.marks++; t.marks == 1 {
				clear(dirty)
			} else {
				t.syncs += syncs
				if pending && len(dirty) == 0 {
					t.durable++
				}
			}
			pending, syncs = false, 0
		case name == "fsync" || name == "fdatasync" || name == "msync":
			syncs++
			if strings.Contains(call, "unfinished") {
				unfinished[thread] = file
			} else {
				delete(dirty, file)
			}
		case strings.HasPrefix(call, "<... f") && strings.Contains(call, "sync resumed"):
			delete(dirty, unfinished[thread])
			delete(unfinished, thread)
		case strings.Contains(name, "write") && strings.HasPrefix(file, dir):
			dirty[file], pending = true, true
			maps.DeleteFunc(unfinished, func(_, syncing string) bool { return syncing == file }) // begun too early
		}
	}
	return t, in.Err()
}
