package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// pageLimit is the most that a monitor gives at once.
const pageLimit = 1000

// states are those of events, as lists have them. Ready has those in line and in flight too.
var states = []string{"ready", "in-line", "in-flight", "retrying", "scheduled", "dead"}

// everywhere are the lists that together have each event.
var everywhere = []string{"ready", "in-flight", "retrying", "scheduled", "dead"}

// A filter selects events of a list.
type filter struct {
	state, key, kind, id string
	after                string
	newest               bool
}

// flags are those of a verb that selects events.
func (f *filter) flags(v *cobra.Command, state string, from ...string) {
	v.Flags().StringVar(&f.state, "state", state, "which events: "+either(from))
	v.Flags().StringVar(&f.key, "key", "", "only events with that key, or that begin with it if it ends with *")
	v.Flags().StringVar(&f.kind, "kind", "", "only events of that kind, or that begin with it if it ends with *")
	v.RegisterFlagCompletionFunc("state", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return from, cobra.ShellCompDirectiveNoFileComp
	})
}

// either is "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (c *command) listVerb() *cobra.Command {
	v := c.lister("list TARGET", "Lists events", "ready")
	v.Long = `List lists the events of a --state. Ready ones include those in line, behind an
earlier event of their key, and those in flight; each line says which it is.`
	return v
}

func (c *command) deadVerb() *cobra.Command {
	return c.lister("dead TARGET", "Lists dead events, with what killed them", "dead")
}

func (c *command) lister(use, short, state string) *cobra.Command {
	var f filter
	var limit int
	v := &cobra.Command{
		Use: use, Short: short,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := split(args, 0)
			if err != nil {
				return err
			}
			if limit < 0 {
				return fail(exitUsage, "--limit is %d, 0 or more expected", limit)
			}
			return c.with(cmd.Context(), target, func(cl *client, lane string) error { return c.list(cmd.Context(), cl, lane, &f, limit) })
		},
	}
	f.flags(v, state, states...)
	v.Flags().StringVar(&f.after, "after", "", "go on where an earlier list ended")
	v.Flags().BoolVar(&f.newest, "newest", false, "from the end")
	v.Flags().IntVar(&limit, "limit", 50, "how many at most; 0: all")
	return v
}

// each calls do for each event of a list, until limit (0: none) is reached. It returns how far it
// looked and where it ended; next "": at the end.
func (cl *client) each(ctx context.Context, lane string, f *filter, limit int, do func(e *event, raw []byte) error) (looked, of int, next string, err error) {
	next = f.after
	for n := 0; ; {
		ask := pageLimit
		if limit > 0 {
			ask = min(ask, limit-n)
		}
		newest := ""
		if f.newest {
			newest = "1"
		}
		var l listing
		if _, err = cl.get(ctx, &l, "lane", lane, "list", f.state, "key", f.key, "kind", f.kind, "id", f.id, "after", next, "newest", newest, "limit", strconv.Itoa(ask)); err != nil {
			return looked, of, next, err
		}
		looked, of, next = looked+l.Looked, l.Of, l.Next
		for _, raw := range l.Items {
			var e event
			if err := json.Unmarshal(raw, &e); err != nil {
				return looked, of, next, err
			}
			if err := do(&e, raw); err != nil {
				return looked, of, next, err
			}
			n++
		}
		if next == "" || limit > 0 && n >= limit {
			return looked, of, next, nil
		}
	}
}

func (c *command) list(ctx context.Context, cl *client, lane string, f *filter, limit int) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	when := map[string]string{"dead": "DIED", "retrying": "DUE", "scheduled": "DUE"}[f.state]
	if when == "" {
		when = "PUT"
	}
	n := 0
	now := time.Now()
	looked, of, next, err := cl.each(ctx, lane, f, limit, func(e *event, raw []byte) error {
		if n++; c.json {
			_, err := fmt.Fprintf(c.out, "%s\n", visibleJSON(raw))
			return err
		}
		if n == 1 {
			fmt.Fprintf(t, "ID\tSTATE\tKIND\tKEY\tTRIES\t%s\tWHY\n", when)
		}
		at := e.Created
		switch when {
		case "DIED":
			at = e.Failed
		case "DUE":
			at = e.Due
		}
		line := fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%s\t%s", visible(e.ID), visible(e.State), cut(visible(e.Kind), 40), cut(visible(e.Key), 60), e.Failures, clock(at, now), cut(e.why(), 120))
		_, err := fmt.Fprintln(t, strings.TrimRight(line, "\t"))
		return err
	})
	t.Flush()
	if err != nil {
		return err
	}
	said := fmt.Sprintf("Looked at %s of %s.", count(looked), count(max(of, looked)))
	if next != "" {
		said += fmt.Sprintf(" To go on: --after %s", visible(next))
	}
	fmt.Fprintln(c.err, said)
	if n == 0 {
		return &exitError{exitNotFound, errSaid}
	}
	return nil
}

// why is the last error of an event, or why it cannot be read.
func (e *event) why() string {
	if e.Damage != "" {
		return "cannot be read: " + visible(e.Damage)
	}
	return visible(e.LastErr)
}
