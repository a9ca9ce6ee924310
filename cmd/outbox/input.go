package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

const (
	maxLine  = 64 << 20 // bytes
	headSize = 1024     // bytes by which a file is recognized
)

// An input is where lines come from. Its method putAll owns it.
type input struct {
	*relay
	st     *store.Store
	r      *bufio.Reader
	n      int      // lines read by this process
	file   *os.File // nil: standard input
	note   string   // the name under which offset is kept
	start  int64    // offset at which this process began
	offset int64    // of the file, behind the lines that were put
}

// input opens --in where an earlier process ended, or standard input.
func (r *relay) input(st *store.Store, stdin io.Reader) (*input, error) {
	in := &input{relay: r, st: st}
	if r.in == "" {
		in.r = bufio.NewReaderSize(stdin, 64<<10)
		return in, nil
	}
	path, err := filepath.Abs(r.in)
	if err == nil {
		in.file, err = os.Open(path)
	}
	if err != nil {
		return nil, fail(exitUsage, "--in: %w", err)
	}
	if at, err := in.file.Stat(); err != nil || !at.Mode().IsRegular() {
		in.close()
		return nil, fail(exitUsage, "--in: %s is no file; give a pipe as standard input", r.in)
	}
	sum := sha256.Sum256([]byte(path))
	in.note = fmt.Sprintf("outbox send --in %x", sum[:16])
	if err := in.resume(); err != nil {
		in.close()
		return nil, err
	}
	in.r = bufio.NewReaderSize(in.file, 64<<10)
	return in, nil
}

func (in *input) close() {
	if in.file != nil {
		in.file.Close() // its error: it was read
	}
}

// resume goes to where an earlier process ended. It recognizes the file by its beginning.
func (in *input) resume() error {
	value, err := in.st.Note(in.note)
	if err != nil || value == nil {
		return err
	}
	if _, err := fmt.Sscanf(string(value), "%d", &in.offset); err != nil {
		return fmt.Errorf("how far %s was read cannot be understood: %q", in.in, value)
	}
	mark, err := in.mark(in.offset)
	if err == nil && mark != string(value) || errors.Is(err, io.EOF) {
		return fail(exitFailed, "%s is not the file that was read before to byte %d: give another name, or another --db", in.in, in.offset)
	}
	if err == nil {
		in.start, err = in.file.Seek(in.offset, io.SeekStart)
	}
	return err
}

// stop says at which line it stops, the n-th that this process reads, and what is left of the file.
func (in *input) stop(n int, why error) error {
	if in.file != nil {
		before, err := in.lines(0, in.start)
		all, errAll := in.lines(0, math.MaxInt64)
		if n += before; err == nil && errAll == nil && n < all {
			return fail(exitFailed, "line %d of %s: %w; it and the %s after it are not sent", n, in.in, why, plural(all-n, "line", count(all-n)+" lines"))
		} else if err == nil && errAll == nil {
			return fail(exitFailed, "line %d of %s: %w; it is the last one, and is not sent", n, in.in, why)
		}
		n -= before
	}
	return fail(exitFailed, "line %d of what was read: %w; it and what follows is not sent", n, why)
}

// lines counts those of a part of the file. The last one may have no end.
func (in *input) lines(from, to int64) (n int, err error) {
	r := io.NewSectionReader(in.file, from, to-from)
	b, last := make([]byte, 64<<10), byte('\n')
	for {
		k, err := r.Read(b)
		if n += bytes.Count(b[:k], []byte("\n")); k > 0 {
			last = b[k-1]
		}
		if err == io.EOF {
			if last != '\n' {
				n++
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// mark says how far the file was read, and which it is.
func (in *input) mark(offset int64) (string, error) {
	head := make([]byte, min(offset, headSize))
	if _, err := in.file.ReadAt(head, 0); err != nil {
		return "", err
	}
	if at, err := in.file.Stat(); err != nil || at.Size() < offset {
		return "", errors.Join(err, io.EOF)
	}
	return fmt.Sprintf("%d %x", offset, sha256.Sum256(head)), nil
}

// A batch is some lines as events, and how many bytes they have in the input.
type batch struct {
	events []outbox.Event
	bytes  int64
	err    error // why there are no more; io.EOF: the end
}

// putAll puts all lines. It returns nil at the end of the input and of ctx.
func (in *input) putAll(ctx context.Context, b *outbox.Outbox) error {
	batches := make(chan batch)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	// It ends after this method has, unless standard input neither ends nor has a line: then with
	// the process.
	go func() {
		for {
			next := in.read()
			select {
			case batches <- next:
			case <-reading.Done():
				return
			}
			if next.err != nil {
				return
			}
		}
	}()
	for {
		select {
		case next := <-batches:
			if err := in.put(ctx, b, &next); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			if next.err == io.EOF {
				return nil
			}
			if next.err != nil {
				return next.err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// put stores lines, and how far the file was read, in one commit.
func (in *input) put(ctx context.Context, b *outbox.Outbox, next *batch) error {
	if len(next.events) == 0 {
		return nil
	}
	_, err := b.PutAllBy(ctx, next.events, func(items ...sender.Item) error {
		if in.file == nil {
			return in.st.Append(ctx, items...)
		}
		mark, err := in.mark(in.offset + next.bytes)
		if err != nil {
			return err
		}
		return in.st.AppendNoted(ctx, in.note, []byte(mark), items...)
	})
	if err == nil {
		in.offset += next.bytes
	}
	return err
}

// read reads lines until a commit is full, or until there is no whole line at hand.
func (in *input) read() (b batch) {
	size, most := int64(0), min(commitBytes, in.maxBytes/4) // so that a commit fits into the file
	for len(b.events) < commitEvents && size <= most {
		line, err := in.line()
		if err != nil && err != io.EOF {
			b.err = err
			return b
		}
		if len(line) > 0 {
			in.n++
		}
		if text := bytes.TrimSuffix(line, []byte("\n")); len(bytes.TrimSpace(text)) > 0 {
			e, err := in.event(text)
			if err != nil {
				b.err = in.stop(in.n, err)
				return b
			}
			b.events = append(b.events, e)
			size += int64(len(text))
		}
		b.bytes += int64(len(line))
		if err != nil {
			b.err = err
			return b
		}
		ahead, _ := in.r.Peek(in.r.Buffered())
		if bytes.IndexByte(ahead, '\n') < 0 && len(b.events) > 0 {
			return b
		}
	}
	return b
}

// line reads a line with its end. The last one may have none.
func (in *input) line() (line []byte, err error) {
	for {
		part, err := in.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, in.stop(in.n+1, fmt.Errorf("it has more than %d bytes", maxLine))
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}
