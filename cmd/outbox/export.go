package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/spf13/cobra"
)

func (c *command) exportVerb() *cobra.Command {
	var f filter
	v := &cobra.Command{
		Use: "export TARGET", Short: "Writes events with payload as lines of JSON",
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := split(args, 0)
			if err != nil {
				return err
			}
			return c.with(cmd.Context(), target, func(cl *client, lane string) error { return c.export(cmd.Context(), cl, lane, &f) })
		},
	}
	f.flags(v, "", states...)
	v.Flags().Lookup("state").Usage += "; all if it is not given"
	return v
}

func (c *command) export(ctx context.Context, cl *client, lane string, f *filter) error {
	// An import puts them in this order: the first event of a key is in flight, retries, or is
	// ready. The list of ready events has those in flight too, which are not written again.
	lists := []string{"in-flight", "retrying", "ready", "scheduled", "dead"}
	if f.state != "" {
		lists = []string{f.state}
	}
	w := bufio.NewWriter(c.out)
	progress := &status{w: c.err, terminal: isTerminal(c.err) && !isTerminal(c.out)}
	n := 0
	var written []uint64 // places of those in flight
	var err error
	for _, list := range lists {
		err = cl.lines(ctx, lane, list, f, func(line []byte) error {
			if len(lists) > 1 && (list == "in-flight" || len(written) > 0) {
				var e struct{ At uint64 }
				if err := json.Unmarshal(line, &e); err != nil {
					return err
				}
				if list == "in-flight" {
					written = append(written, e.At)
				} else if slices.Contains(written, e.At) {
					return nil
				}
			}
			n++
			progress.tell("%s written", count(n))
			_, err := w.Write(visibleJSON(line))
			return err
		})
		if err != nil {
			break
		}
	}
	if flush := w.Flush(); err == nil {
		err = flush
	}
	progress.set("")
	fmt.Fprintf(c.err, "%s %s written.\n", events(n, ""), plural(n, "was", "were"))
	return err
}

// lines calls do with each line of an export, and its end of line.
func (cl *client) lines(ctx context.Context, lane, list string, f *filter, do func([]byte) error) error {
	resp, err := cl.do(ctx, http.MethodGet, nil, "lane", lane, "export", list, "key", f.key, "kind", f.kind)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the export breaks off: %w", err)
		}
		if err := do(line); err != nil {
			return err
		}
	}
}
