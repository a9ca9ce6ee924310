package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (c *command) showVerb() *cobra.Command {
	payload := false
	v := &cobra.Command{
		Use: "show TARGET ID", Short: "Shows one event",
		Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd.Context(), args, func(_ *client, e *event, text []byte) error { return c.show(e, text, payload) })
		},
		ValidArgsFunction: c.completeIDs(everywhere...),
	}
	v.Flags().BoolVar(&payload, "payload", false, "with payload and header")
	return v
}

func (c *command) explainVerb() *cobra.Command {
	return &cobra.Command{
		Use: "explain TARGET ID", Short: "Says why an event waits",
		Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd.Context(), args, c.explain)
		},
		ValidArgsFunction: c.completeIDs(everywhere...),
	}
}

// one calls do with the event that the arguments name.
func (c *command) one(ctx context.Context, args []string, do func(cl *client, e *event, text []byte) error) error {
	target, rest, err := split(args, 1)
	if err != nil {
		return err
	}
	return c.with(ctx, target, func(cl *client, lane string) error {
		e, text, err := cl.find(ctx, lane, rest[0])
		if err != nil {
			return err
		}
		return do(cl, &e, text)
	})
}

// document writes the answer about an event, without what was not asked for.
func (c *command) document(text []byte, without ...string) error {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	for _, name := range without {
		delete(doc, name)
	}
	text, err := json.Marshal(doc)
	if err == nil {
		_, err = fmt.Fprintf(c.out, "%s\n", visibleJSON(text))
	}
	return err
}

func (c *command) show(e *event, text []byte, payload bool) error {
	kept := e.Payload == nil && e.Damage == ""
	if payload && kept {
		return fail(exitNotAllowed, "you may not read payloads")
	}
	if c.json && payload {
		return c.document(text)
	}
	if c.json {
		return c.document(text, "payload", "header", "contents")
	}
	e.headline(c.out)
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "  %s\t%s\n", name, value)
		}
	}
	when := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return at.UTC().Format(time.RFC3339)
	}
	row("put", when(e.Created))
	row("due", when(e.Due))
	row("expires", when(e.Expires))
	row("attempts", fmt.Sprintf("%d, %d failed", e.Attempts, e.Failures))
	if e.State == "dead" {
		row("died", when(e.Failed))
	} else {
		row("failed", when(e.Failed))
	}
	row("why", e.why())
	for _, h := range e.History {
		row("  "+when(h.At), visible(h.Reason))
	}
	row("bytes", count(e.Bytes))
	if payload {
		for _, name := range slices.Sorted(maps.Keys(e.Header)) {
			row("header", visible(name)+": "+visible(e.Header[name]))
		}
	} else {
		row("headers", visible(strings.Join(e.Headers, ", ")))
	}
	t.Flush()
	if payload && e.Payload != nil {
		fmt.Fprintf(c.out, "\n%s\n", visibleLines(string(*e.Payload)))
	}
	return nil
}

// headline writes an event in a line.
func (e *event) headline(w io.Writer) {
	var line strings.Builder
	line.WriteString(visible(e.ID))
	for _, part := range []string{e.Kind, e.Key, strings.ReplaceAll(e.State, "-", " ")} {
		if part != "" {
			line.WriteString("  " + visible(part))
		}
	}
	fmt.Fprintln(w, line.String())
}

// endedBy says which verb ends a reason.
var endedBy = map[string]string{
	"paused":    "outbox resume ends that",
	"throttled": "outbox clear-throttle ends that",
	"retrying":  "outbox run-now makes it due now",
	"scheduled": "outbox run-now makes it due now",
}

func (c *command) explain(cl *client, e *event, text []byte) error {
	if c.json {
		return c.document(text, "payload", "header", "contents")
	}
	e.headline(c.out)
	if e.Damage != "" {
		fmt.Fprintf(c.out, "  %s\n", e.why())
	}
	n := 0
	for _, r := range e.Reasons {
		switch {
		case r.Code == "behind": // the last line says it
			continue
		case r.Code == "storing" && cl.stopped:
			r.Text = "No program has the file open."
		}
		n++
		line := strings.TrimSuffix(visible(r.Text), ".")
		if r.Head != nil {
			line += "; the first is " + visible(r.Head.ID)
		}
		if ends := endedBy[r.Code]; ends != "" && (r.Until.IsZero() || r.Until.After(time.Now())) {
			line += "; " + ends
		}
		if r.Cause != "" && !strings.Contains(r.Text, r.Cause) {
			line += ": " + visible(r.Cause)
		}
		fmt.Fprintf(c.out, "  %d. %s\n", n, line)
	}
	if e.State == "dead" || e.State == "in-flight" {
		return nil
	}
	ahead := ""
	if e.Ahead > 0 {
		ahead = fmt.Sprintf("at most %s %s before it", count(e.Ahead), plural(e.Ahead, "goes", "go"))
	}
	if !e.About.IsZero() {
		if ahead != "" {
			ahead += ": "
		}
		ahead += "about " + span(time.Until(e.About))
	}
	switch {
	case n == 0 && ahead == "":
		fmt.Fprintln(c.out, "  it is next")
	case n == 0:
		fmt.Fprintln(c.out, "  "+ahead)
	case ahead != "":
		fmt.Fprintln(c.out, "  then "+ahead)
	}
	return nil
}
