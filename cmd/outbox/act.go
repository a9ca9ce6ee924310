package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// An act is a verb that is done to events.
type act struct {
	do    string
	done  string // "revived"
	short string
	state string   // the list that --all takes
	from  []string // the lists that it can take
	final bool
}

var acts = []act{
	{"revive", "revived", "Sends dead events again", "dead", []string{"dead"}, false},
	{"drop", "dropped", "Gives events up, for good", "dead", states, true},
	{"run-now", "made due", "Makes failed and scheduled events due now", "retrying", []string{"retrying", "scheduled"}, false},
}

func (c *command) actVerb(a act) *cobra.Command {
	var f filter
	var all, dry bool
	v := &cobra.Command{
		Use: a.do + " TARGET {ID… | --all}", Short: a.short,
		Args: usage(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := -1
			if all {
				n = 0
			}
			target, ids, err := split(args, n)
			if err != nil {
				return err
			}
			if !all && len(ids) == 0 {
				return fail(exitUsage, "which events? Give IDs, or --all with --key or --kind")
			}
			for _, name := range []string{"state", "key", "kind"} {
				if !all && cmd.Flags().Changed(name) {
					return fail(exitUsage, "--%s goes with --all", name)
				}
			}
			return c.with(cmd.Context(), target, func(cl *client, lane string) error {
				if all {
					return c.actAll(cmd.Context(), cl, lane, a, f, dry)
				}
				return c.actOn(cmd.Context(), cl, lane, a, ids, dry)
			})
		},
		ValidArgsFunction: c.completeIDs(a.from...),
	}
	f.flags(v, a.state, a.from...)
	v.Flags().BoolVar(&all, "all", false, "all events of --state that --key and --kind select")
	v.Flags().BoolVar(&dry, "dry-run", false, "only count")
	return v
}

// actOn does it to the events that IDs name.
func (c *command) actOn(ctx context.Context, cl *client, lane string, a act, ids []string, dry bool) error {
	var items []ref
	fit, unknown := 0, 0
	for _, id := range ids {
		e, _, err := cl.find(ctx, lane, id)
		if err != nil {
			return err
		}
		items = append(items, ref{e.At, e.ID})
		if slices.Contains(a.from, e.State) {
			fit++
		}
		if e.unknown() {
			unknown++
		}
	}
	if dry {
		return c.would(fit, len(items), a, "")
	}
	question := ""
	switch {
	case a.final:
		question = fmt.Sprintf("%s %s for good?", capital(a.do), events(len(items), ""))
	case a.do == "revive" && unknown > 0:
		question = fmt.Sprintf("%s, and may have arrived: the answer is unknown. Send again?", plural(unknown, "1 event was sent", count(unknown)+" events were sent"))
	}
	if question != "" {
		if err := c.sure(ctx, cl, question); err != nil {
			return err
		}
	}
	var sum done
	for len(items) > 0 {
		n := min(len(items), pageLimit)
		d, err := cl.act(ctx, lane, &action{Do: a.do, Items: items[:n]})
		if sum.add(d); err != nil {
			return c.partly(a, sum, err)
		}
		items = items[n:]
	}
	return c.did(a, sum)
}

// actAll does it to all events that a filter selects. It ends where the list ended when it began:
// what dies while it runs stays dead.
func (c *command) actAll(ctx context.Context, cl *client, lane string, a act, f filter, dry bool) error {
	n, unknown := 0, 0
	_, of, _, err := cl.each(ctx, lane, &f, 0, func(e *event, _ []byte) error {
		if n++; e.unknown() {
			unknown++
		}
		return nil
	})
	if err != nil {
		return err
	}
	what := f.state
	if dry {
		return c.would(n, max(n, of), a, what)
	}
	if n == 0 {
		return c.did(a, done{})
	}
	question := fmt.Sprintf("%s %s?", capital(a.do), events(n, what))
	if a.do == "revive" && unknown > 0 {
		question += fmt.Sprintf(" Of %s the answer is unknown: %s may have arrived.", count(unknown), plural(unknown, "it", "they"))
	}
	if err := c.sure(ctx, cl, question); err != nil {
		return err
	}
	var sum done
	ask := action{Do: a.do, All: 1, List: f.state, Key: f.key, Kind: f.kind}
	for {
		d, err := cl.act(ctx, lane, &ask)
		if sum.add(d); err != nil {
			return c.partly(a, sum, err)
		}
		if ask.After = d.Next; d.Next == "" || sum.Done+sum.PassedOver >= n {
			return c.did(a, sum)
		}
	}
}

// unknown reports whether a dead event may have arrived: it was sent at most once, and nobody knows
// the answer.
func (e *event) unknown() bool {
	return e.State == "dead" && strings.HasPrefix(e.LastErr, "sent, answer unknown")
}

func (d *done) add(more done) { d.Done, d.PassedOver = d.Done+more.Done, d.PassedOver+more.PassedOver }

// would says what a dry run found. Its code is that of what it would do.
func (c *command) would(n, of int, a act, what string) (err error) {
	if c.json {
		err = c.write(map[string]any{"v": 1, "would": n, "of": of})
	} else {
		_, err = fmt.Fprintf(c.out, "%s of %s would be %s.\n", count(n), events(of, what), a.done)
	}
	if err == nil && n == 0 {
		err = &exitError{exitNotFound, errSaid}
	}
	return err
}

// did says what was done.
func (c *command) did(a act, d done) error {
	if err := c.said(a, d); err != nil {
		return err
	}
	if d.Done == 0 {
		return &exitError{exitNotFound, errSaid}
	}
	return nil
}

func (c *command) said(a act, d done) error {
	if c.json {
		return c.write(map[string]any{"v": 1, "done": d.Done, "passed_over": d.PassedOver})
	}
	text := fmt.Sprintf("%s %s %s.", events(d.Done, ""), plural(d.Done, "was", "were"), a.done)
	if d.PassedOver > 0 {
		text += fmt.Sprintf(" %s passed over: no longer there", plural(d.PassedOver, "1 was", count(d.PassedOver)+" were"))
		if len(a.from) > 0 && !a.final {
			text += ", or not " + either(a.from)
		}
		text += "."
	}
	_, err := fmt.Fprintln(c.out, text)
	return err
}

// partly says what was done before an error.
func (c *command) partly(a act, d done, err error) error {
	if d.Done > 0 {
		err = errors.Join(err, c.said(a, d))
	}
	return err
}

// write writes a document of ours.
func (c *command) write(doc any) error {
	text, err := json.Marshal(doc)
	if err == nil {
		_, err = fmt.Fprintf(c.out, "%s\n", visibleJSON(text))
	}
	return err
}
