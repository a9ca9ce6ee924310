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
				d, err := cl.act(cmd.Context(), lane, &a)
				if a.Do == "pause" && isRefusal(err, "too_large") {
					return &exitError{exitUsage, err} // of --reason
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
			a.Key = rest[0]
			return c.sure(ctx, cl, fmt.Sprintf("Drop all events of the key %s for good?", visible(a.Key)))
		})
}
