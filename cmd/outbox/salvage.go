package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/salvage"
)

func (c *command) salvageVerb() *cobra.Command {
	into := ""
	v := &cobra.Command{
		Use: "salvage FILE", Short: "Copies what can be read of a damaged file into a fresh one",
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := split(args, 0)
			if err != nil {
				return err
			}
			return c.salvage(path, into)
		},
	}
	v.Flags().StringVar(&into, "into", "", "the fresh file, which must not exist (default: the place of the damaged one, which is kept under another name)")
	return v
}

func (c *command) salvage(path, into string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fail(exitNotFound, "there is no file %s: salvage needs a file that no program has open", path)
	}
	if err := noDirectory(path); err != nil {
		return err
	}
	r, err := salvage.File(path, into)
	switch {
	case errors.Is(err, store.ErrLocked):
		return &exitError{exitInUse, err}
	case errors.Is(err, fs.ErrPermission):
		return opening(path, err)
	case errors.Is(err, store.ErrFormat) && into == "" && len(lanesIn(path)) > 0:
		return fail(exitUsage, "%w, by --into", err)
	case err != nil:
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.err, "found:", visible(p.Error()))
	}
	if c.json {
		return c.write(map[string]any{"v": 1, "path": r.Path, "original": r.Original, "saved": r.Saved, "suspicious": r.Suspicious, "lost": r.Lost, "lost_unknown": r.LostUnknown})
	}
	atLeast := ""
	if r.LostUnknown {
		atLeast = "at least "
	}
	fmt.Fprintf(c.out, "%s saved, %s suspicious, %s%s lost.\nfresh     %s\noriginal  %s\n", events(r.Saved, ""), count(r.Suspicious), atLeast, count(r.Lost), visible(r.Path), visible(r.Original))
	if r.Suspicious > 0 {
		fmt.Fprintln(c.err, "The suspicious ones are among the dead: they may have been delivered before. Revive or drop them.")
	}
	return nil
}
