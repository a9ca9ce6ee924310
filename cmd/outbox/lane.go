package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *command) laneVerb(use, short, said string, n int, prepare func(context.Context, *client, *action, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		Args: usage(cobra.MaximumNArgs(n + 1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := split(args, n)
			if err != nil {
				return err
			}
			return c.with(cmd.Context(), target, func(cl *client, lane string) error {
				a := action{Do: cmd.Name()}
				if prepare != nil {
					if err := prepare(cmd.Context(), cl, &a, rest); err != nil {
						return err
					}
				}
				if a.Do == "pause" || a.Do == "resume" || a.Do == "clear-throttle" {
					return c.steer(cmd.Context(), cl, lane, said, &a)
				}
				d, err := cl.act(cmd.Context(), lane, &a)
				if a.Do == "erase" && isRefusal(err, "bad_request") {
					return &exitError{exitFailed, err} // the file cannot be cleared
				}
				if err != nil {
					return err
				}
				if c.json {
					return c.write(map[string]any{"v": 1, "lane": lane, "done": d.Done})
				}
				text := fmt.Sprintf("Lane %s %s.", visible(lane), said)
				if cmd.Name() == "erase" {
					text = fmt.Sprintf("%s of the key %s dropped, and the key is cleared from the file.", events(d.Done, ""), plural(d.Done, "was", "were"))
				}
				_, err = fmt.Fprintln(c.out, text)
				return err
			})
		},
	}
}

// steer does what starts or ends a hold of a lane, and says what holds it afterwards.
func (c *command) steer(ctx context.Context, cl *client, name, said string, a *action) error {
	var before, after lane
	if _, err := cl.get(ctx, &before, "lane", name); err != nil {
		return err
	}
	if _, err := cl.act(ctx, name, a); err != nil {
		if a.Do == "pause" && isRefusal(err, "too_large") {
			return &exitError{exitUsage, err} // of --reason
		}
		return err
	}
	if _, err := cl.get(ctx, &after, "lane", name); err != nil {
		return fmt.Errorf("lane %s %s, and how it is now is not known: %w", visible(name), said, err)
	}
	changed, not := 1, ""
	switch {
	case a.Do == "resume" && before.Paused == nil:
		changed, not = 0, "is not paused"
	case a.Do == "clear-throttle" && before.Throttled == nil:
		changed, not = 0, "has no throttle"
	}
	if c.json {
		return c.write(map[string]any{"v": 1, "lane": name, "done": changed, "state": after.State})
	}
	text := fmt.Sprintf("Lane %s %s.", visible(name), said)
	if not != "" {
		text = fmt.Sprintf("Lane %s %s: nothing was changed.", visible(name), not)
	}
	if _, err := fmt.Fprintln(c.out, text); err != nil {
		return err
	}
	if a.Do == "pause" {
		if before.Paused != nil {
			fmt.Fprintf(c.err, "It was %s. That is replaced.\n", before.pause(before.Now))
		}
		after.Held, after.Throttled = nil, nil // they were there before, and go on
	}
	rest := " " + cl.name
	if c.lane != "" {
		rest += " --lane " + c.lane
	}
	for _, line := range after.holds(cl.stopped, visible(rest)) {
		fmt.Fprintln(c.err, line)
	}
	return nil
}

// holds says what keeps a lane from sending, and what ends that. rest is what follows a verb.
func (l *lane) holds(stopped bool, rest string) (lines []string) {
	if l.Paused != nil {
		lines = append(lines, "It is "+l.pause(l.Now)+". What ends that: outbox resume"+rest)
	}
	if l.Throttled != nil {
		lines = append(lines, capital(l.throttle(l.Now))+". What ends that: outbox clear-throttle"+rest)
	}
	if l.Held != nil {
		lines = append(lines, "It is held: "+l.hold(l.Now)+". No command ends that: mend what is broken, and the lane goes on by itself.")
	}
	switch {
	case stopped:
		lines = append(lines, "No program has the file open: nothing is sent until one does.")
	case l.State == "storing":
		lines = append(lines, "The lane has no transport: nothing is sent until its program gives it one.")
	case l.State == "closed":
		lines = append(lines, "The outbox is closed: nothing is sent until its program opens it again.")
	case len(lines) == 0 && l.Retrying > 0:
		lines = append(lines, plural(l.Retrying, "1 event waits for its", count(l.Retrying)+" events wait for their")+" next try. What makes "+plural(l.Retrying, "it", "them")+" due: outbox run-now"+rest+" --all")
	}
	return lines
}

func (c *command) pauseVerb() *cobra.Command {
	var until, reason string
	v := c.laneVerb("pause TARGET", "Starts no request until --until, or until resume", "is paused", 0,
		func(_ context.Context, _ *client, a *action, _ []string) error {
			a.Until, a.Reason = until, reason
			return nil
		})
	v.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("until") && until == "" {
			return fail(exitUsage, "--until is empty; without it the pause lasts until resume")
		}
		return nil
	}
	v.Flags().StringVar(&until, "until", "", "when it ends: a time as 2026-05-01T06:00:00Z, or a duration as 2h")
	v.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	return v
}

func (c *command) resumeVerb() *cobra.Command {
	return c.laneVerb("resume TARGET", "Ends what pause began", "is resumed", 0, nil)
}

func (c *command) clearThrottleVerb() *cobra.Command {
	return c.laneVerb("clear-throttle TARGET", "Ends a pause that the destination asked for", "has no throttle any more", 0, nil)
}

func (c *command) compactVerb() *cobra.Command {
	return c.laneVerb("compact TARGET", "Makes the file as small as its contents", "and its file are compacted", 0, nil)
}

func (c *command) eraseVerb() *cobra.Command {
	return c.laneVerb("erase TARGET KEY", "Drops all events of a key, and clears the file of it", "", 1,
		func(ctx context.Context, cl *client, a *action, rest []string) error {
			if a.Key = rest[0]; a.Key == "" {
				return fail(exitUsage, "the key is empty: events without a key have nothing in common")
			}
			return c.sure(ctx, cl, fmt.Sprintf("Drop all events of the key %s for good?", visible(a.Key)))
		})
}
