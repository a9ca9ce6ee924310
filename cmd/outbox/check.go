package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed8107221f/outbox/store"
)

func (c *command) checkVerb() *cobra.Command {
	return &cobra.Command{
		Use: "check TARGET", Short: "Verifies that every event is accounted for; exits with 6 if not",
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := split(args, 0)
			if err != nil {
				return err
			}
			return c.check(cmd.Context(), target)
		},
	}
}

// A checked lane is what check says of it.
type checked struct {
	Lane  string `json:"lane"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func (c *command) check(ctx context.Context, target string) error {
	cl, err := c.open(target)
	if errors.Is(err, store.ErrCorrupt) {
		return &exitError{exitUnhealthy, err}
	}
	if err != nil {
		return err
	}
	defer cl.close() // its error: check changes nothing
	names := []string{c.lane}
	if c.lane == "" {
		var o overview
		if _, err := cl.get(ctx, &o); err != nil {
			return err
		}
		names = nil
		for _, l := range o.Lanes {
			names = append(names, l.Name)
		}
	}
	var all []checked
	bad := false
	for _, name := range names {
		_, err := cl.act(ctx, name, &action{Do: "check"})
		one := checked{Lane: name, OK: err == nil}
		switch {
		case isRefusal(err, "storage"):
			bad, one.Error = true, err.Error()
		case isRefusal(err, "bad_request"):
			return fail(exitFailed, "the program's monitor cannot check: %w", err)
		case err != nil:
			return err
		}
		if all = append(all, one); c.json {
			continue
		}
		if one.OK {
			fmt.Fprintf(c.out, "Lane %s: every event is accounted for.\n", visible(name))
		} else {
			fmt.Fprintf(c.out, "Lane %s: %s\n", visible(name), visibleLines(one.Error))
		}
	}
	if c.json {
		if err := c.write(map[string]any{"v": 1, "ok": !bad, "lanes": all}); err != nil {
			return err
		}
	}
	if bad {
		if cl.stopped {
			fmt.Fprintf(c.err, "outbox salvage %s copies what can be read into a fresh file, and keeps this one.\n", visible(target))
		} else {
			fmt.Fprintln(c.err, "If the file is damaged: stop its program, and outbox salvage copies what can be read into a fresh file.")
		}
		return &exitError{exitUnhealthy, errSaid}
	}
	return nil
}
