package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// One commit of an import has at most so many events, and about so many bytes.
const (
	commitEvents = 500
	commitBytes  = 4 << 20
)

func (c *command) importVerb() *cobra.Command {
	var from string
	var create bool
	v := &cobra.Command{
		Use: "import FILE", Short: "Puts what export wrote into a file that no program has open",
		Long: `Import puts events as export wrote them, in that order, from --in or from
standard input.

They keep ID, kind, key, header, payload, the time of their Put, and the time
that they are scheduled for. Everything else starts from the beginning: what was
dead is sent again. Events whose ID is there already are skipped, so an import
that broke off can be repeated, as long as nothing was delivered between.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := split(args, 0)
			if err != nil {
				return err
			}
			return c.importFrom(cmd.Context(), path, from, create)
		},
	}
	v.Flags().StringVar(&from, "in", "", "the file to read (default: standard input)")
	v.Flags().BoolVar(&create, "create", false, "make the file, and the lane, if there is none")
	return v
}

func (c *command) importFrom(ctx context.Context, path, from string, create bool) (err error) {
	if strings.Contains(path, "://") || strings.HasPrefix(path, "unix:") {
		return fail(exitUsage, "import needs a file that no program has open, not %s", visible(path))
	}
	in := c.in
	if from != "" {
		f, err := os.Open(from)
		if err != nil {
			return fail(exitUsage, "--in: %w", err)
		}
		defer f.Close()
		in = f
	}
	if create {
		if err := c.make(path); err != nil {
			return err
		}
	}
	ls, err := c.openLanes(path, time.Second)
	if errors.Is(err, store.ErrLocked) {
		return fail(exitInUse, "%s is in use: import needs a file that no program has open", path)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ls.close()) }()
	var s *store.Store
	for name, one := range ls.stores {
		if c.lane == name || c.lane == "" && len(ls.stores) == 1 {
			s = one
		}
	}
	if s == nil && c.lane == "" {
		return fail(exitUsage, "%s has several lanes: give one by --lane", path)
	} else if s == nil {
		return fail(exitNotFound, "there is no lane %q; --create makes it", c.lane)
	}
	progress := &status{w: c.err, terminal: isTerminal(c.err)}
	i := importer{to: s, errs: progress, there: make(map[uuid.UUID]bool)}
	for _, list := range []iter.Seq2[sender.Item, error]{s.Pending(), s.Dead()} {
		for it, err := range list {
			if err != nil && it.ID == uuid.Nil {
				return err
			}
			i.there[it.ID] = true
		}
	}
	err = i.read(ctx, in)
	progress.set("")
	if c.json {
		return errors.Join(err, c.write(map[string]any{"v": 1, "put": i.put, "skipped": i.skipped, "unreadable": i.unreadable}))
	}
	fmt.Fprintf(c.out, "%s %s put, %s %s there already.\n", events(i.put, ""), plural(i.put, "was", "were"), count(i.skipped), plural(i.skipped, "was", "were"))
	return err
}

// make makes a file, or a lane in it, if there is none.
func (c *command) make(path string) error {
	if _, err := os.Stat(path); c.bucket != "" || err == nil && (c.lane == "" || c.lane == "outbox") || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // the next step says what is wrong
	}
	s, err := store.Open(path, &store.Options{LockTimeout: time.Second})
	if errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrSealed) {
		return nil
	}
	if err == nil && c.lane != "" && c.lane != "outbox" {
		_, err = s.Lane(c.lane, nil)
	}
	if s != nil {
		err = errors.Join(err, s.Close())
	}
	return err
}

// An importer puts lines of an export into a lane.
type importer struct {
	to                       *store.Store
	errs                     *status
	there                    map[uuid.UUID]bool
	put, skipped, unreadable int

	batch []sender.Item
	bytes int
}

// read reads all lines. An error leaves what was committed before.
func (i *importer) read(ctx context.Context, in io.Reader) error {
	r := bufio.NewReaderSize(until(ctx, in), 64<<10)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if err := i.line(text, n); err != nil {
				return errors.Join(fmt.Errorf("line %d: %w", n, err), i.commit(ctx))
			}
		}
		if err == io.EOF {
			return i.commit(ctx)
		}
		if err != nil {
			return errors.Join(err, i.commit(ctx))
		}
		if len(i.batch) >= commitEvents || i.bytes >= commitBytes {
			if err := i.commit(ctx); err != nil {
				return err
			}
		}
	}
}

func (i *importer) line(text []byte, n int) error {
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	id, err := uuid.Parse(e.ID)
	if err != nil {
		return fmt.Errorf("the ID: %w", err)
	}
	if e.Payload == nil {
		i.unreadable++
		fmt.Fprintf(i.errs, "line %d has no payload, and is left out: %s\n", n, visible(e.Damage))
		return nil
	}
	if i.there[id] {
		i.skipped++
		return nil
	}
	it := sender.Item{ID: id, Kind: e.Kind, Key: e.Key, Header: e.Header, Payload: *e.Payload, Created: e.Created, Expires: e.Expires}
	if e.State == string(sender.StateScheduled) {
		it.Due = e.Due
	}
	if it.Created.IsZero() {
		it.Created = time.Now()
	}
	if err := it.Check(); err != nil {
		return err
	}
	i.there[id] = true
	i.batch = append(i.batch, it)
	i.bytes += it.Size()
	return nil
}

// commit puts what was read. It is not begun after the end of ctx.
func (i *importer) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := i.to.Append(context.WithoutCancel(ctx), i.batch...); err != nil {
		return err
	}
	i.put += len(i.batch)
	i.batch, i.bytes = i.batch[:0], 0
	i.errs.tell("%s put, %s there already", count(i.put), count(i.skipped))
	return nil
}

// until returns a reader that ends with ctx, even if in gives nothing. Its goroutine ends with in,
// or with the process.
func until(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return r
}
