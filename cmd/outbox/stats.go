package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// limits are what a probe accepts. Negative: anything.
type limits struct {
	age, held time.Duration
	dead      int
}

func (c *command) statsVerb() *cobra.Command {
	var max limits
	v := &cobra.Command{
		Use:   "stats TARGET",
		Short: "Shows the lanes; with a limit, exits with 6 beyond it",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := split(args, 0)
			if err != nil {
				return err
			}
			return c.stats(cmd.Context(), target, max)
		},
	}
	v.Flags().DurationVar(&max.age, "max-age", -1, "the longest that the oldest event may wait")
	v.Flags().IntVar(&max.dead, "max-dead", -1, "how many events of a lane may be dead")
	v.Flags().DurationVar(&max.held, "max-held", -1, "how long a lane may be held")
	hideDefaults(v, "max-age", "max-dead", "max-held")
	return v
}

// hideDefaults leaves defaults that mean "none" out of the help, which says none of a zero.
func hideDefaults(v *cobra.Command, names ...string) {
	for _, name := range names {
		v.Flags().Lookup(name).DefValue = "0"
	}
}

func (c *command) stats(ctx context.Context, target string, max limits) error {
	cl, err := c.open(target)
	if err != nil {
		return err
	}
	defer cl.close() // its error: everything was read
	var o overview
	text, err := cl.get(ctx, &o)
	if err != nil {
		return err
	}
	if c.lane != "" {
		if text, err = o.only(c.lane, text); err != nil {
			return err
		}
	}
	if c.json {
		fmt.Fprintf(c.out, "%s\n", visibleJSON(bytes.TrimSpace(text)))
	} else {
		writeLanes(c.out, &o, cl.stopped)
	}
	beyond := false
	for i := range o.Lanes {
		for _, why := range o.Lanes[i].beyond(max, o.Now) {
			fmt.Fprintf(c.err, "outbox: lane %s: %s\n", visible(o.Lanes[i].Name), why)
			beyond = true
		}
	}
	if beyond {
		return &exitError{exitUnhealthy, errSaid}
	}
	return nil
}

// only leaves one lane in an overview and in its text.
func (o *overview) only(name string, text []byte) ([]byte, error) {
	var doc map[string]json.RawMessage
	var all []json.RawMessage
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(doc["lanes"], &all); err != nil {
		return nil, err
	}
	for i, l := range o.Lanes {
		if l.Name == name {
			o.Lanes = o.Lanes[i : i+1]
			doc["lanes"], _ = json.Marshal(all[i : i+1]) // raw text is JSON already
			return json.Marshal(doc)
		}
	}
	return nil, fail(exitNotFound, "there is no lane %q", name)
}

// beyond says which limits a lane is beyond.
func (l *lane) beyond(max limits, now time.Time) (why []string) {
	if age := now.Sub(l.Oldest); max.age >= 0 && !l.Oldest.IsZero() && age > max.age {
		why = append(why, fmt.Sprintf("the oldest event waits for %s, at most %s", span(age), span(max.age)))
	}
	if max.dead >= 0 && l.Dead > max.dead {
		why = append(why, fmt.Sprintf("%s, at most %s", events(l.Dead, "dead"), count(max.dead)))
	}
	if max.held >= 0 && l.Held != nil {
		if since := now.Sub(l.Held.Since); l.Held.Since.IsZero() {
			why = append(why, "held: "+visible(l.Held.Error))
		} else if since > max.held {
			why = append(why, fmt.Sprintf("held for %s, at most %s: %s", span(since), span(max.held), visible(l.Held.Error)))
		}
	}
	return why
}

// writeLanes writes the lanes as a table, with what is wrong below each. Numbers are on the right.
func writeLanes(w io.Writer, o *overview, stopped bool) {
	names, states := len("LANE"), len("STATE")
	for i := range o.Lanes {
		l := &o.Lanes[i]
		names, states = max(names, utf8.RuneCountInString(visible(l.Name))), max(states, len(l.word(stopped)))
	}
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, state string, numbers ...string) {
		fmt.Fprintf(t, "%-*s  %-*s\t%s\t\n", names, name, states, state, strings.Join(numbers, "\t"))
	}
	row("LANE", "STATE", "PENDING", "READY", "RETRY", "DEAD", "OLDEST", "RATE", "LEFT")
	for i := range o.Lanes {
		l := &o.Lanes[i]
		row(visible(l.Name), l.word(stopped), count(l.Pending), count(l.Ready), count(l.Retrying), count(l.Dead), l.oldest(o.Now), l.pace(), l.left())
	}
	t.Flush()
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		fmt.Fprintln(w, strings.TrimPrefix(line, "  "))
		if i > 0 {
			for _, said := range o.Lanes[i-1].says(o.Now) {
				fmt.Fprintf(w, "%12s%s\n", "", said)
			}
		}
	}
}

// word is the state of a lane. Of a file that no program has open nothing is sent.
func (l *lane) word(stopped bool) string {
	if stopped && l.State == "storing" {
		return "stopped"
	}
	return visible(l.State)
}

func (l *lane) oldest(now time.Time) string {
	if l.Oldest.IsZero() {
		return "-"
	}
	return span(now.Sub(l.Oldest))
}

func (l *lane) pace() string {
	allowed := l.Limit
	if allowed == 0 {
		allowed = l.Rate
	}
	if allowed == 0 {
		return perSecond(l.Requests) + "/s"
	}
	return perSecond(l.Requests) + "/" + perSecond(allowed)
}

func (l *lane) left() string {
	if l.SecondsLeft == nil {
		return "?"
	}
	return span(time.Duration(*l.SecondsLeft * float64(time.Second)))
}

// says tells what keeps a lane from sending.
func (l *lane) says(now time.Time) (lines []string) {
	if l.Held != nil {
		lines = append(lines, l.hold(now))
	}
	if l.Throttled != nil {
		lines = append(lines, l.throttle(now))
	}
	if l.Paused != nil {
		lines = append(lines, l.pause(now))
	}
	var rest []string // of what is pending, beside ready and retrying
	for _, part := range []struct {
		n    int
		what string
	}{{l.Scheduled, "scheduled"}, {l.InLine, "in-line"}, {l.InFlight, "in-flight"}} {
		if part.n > 0 {
			rest = append(rest, events(part.n, part.what))
		}
	}
	if len(rest) > 0 {
		lines = append(lines, strings.Join(rest, ", "))
	}
	if l.Abandoned > 0 {
		lines = append(lines, fmt.Sprintf("%s abandoned: the transport ignores its context", plural(l.Abandoned, "1 call is", count(l.Abandoned)+" calls are")))
	}
	if l.Fallback != "" {
		lines = append(lines, "opened as of the commit before its newest one: "+visible(l.Fallback))
	}
	return lines
}

// hold says what holds a lane, if something does.
func (l *lane) hold(now time.Time) string {
	h := l.Held
	line := visible(h.By) + ": " + visible(h.Error)
	if !h.Since.IsZero() {
		line += ", since " + clock(h.Since, now)
	}
	if !h.Probe.IsZero() {
		line += "; tested again in " + span(h.Probe.Sub(now))
	}
	return line
}

// throttle says until when the destination asked for a pause, if it did.
func (l *lane) throttle(now time.Time) string {
	return fmt.Sprintf("the destination asked for a pause until %s, in %s", clock(l.Throttled.Until, now), span(l.Throttled.Until.Sub(now)))
}

// pause says who paused a lane, until when and why, if somebody did.
func (l *lane) pause(now time.Time) string {
	p := l.Paused
	line := "paused"
	if p.By != "" {
		line += " by " + visible(p.By)
	}
	if p.Until.IsZero() {
		line += " until it is resumed"
	} else {
		line += " until " + clock(p.Until, now)
	}
	if p.Reason != "" {
		line += ": " + visible(p.Reason)
	}
	return line
}
