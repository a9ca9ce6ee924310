package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// A command is one call of the program: its streams and the flags that all verbs have.
type command struct {
	in       io.Reader
	out, err io.Writer

	json       bool
	yes        bool
	lane       string
	bucket     string
	sealKeys   []string
	headerFile string
}

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := &command{in: in, out: out, err: errs}
	lost := &noted{w: out}
	if !isTerminal(out) { // where there is one, it is asked about itself
		c.out = lost
	}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(c.out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if lost.err != nil && (err == nil || errors.Is(err, errSaid)) {
		err = lost.err
	}
	if err == nil {
		return exitDone
	}
	code := codeOf(err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code = exitUnfinished
		err = fmt.Errorf("interrupted: %w", err)
	}
	if strings.HasPrefix(err.Error(), "unknown command") {
		code = exitUsage
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(errs, "outbox:", visibleLines(strings.TrimPrefix(err.Error(), "outbox: ")))
	}
	return code
}

// noted is the output of a verb, and knows the first error of it: many a line is written without a
// look at the error. After it nothing more is written. One goroutine writes at a time.
type noted struct {
	w   io.Writer
	err error
}

func (n *noted) Write(p []byte) (int, error) {
	if n.err != nil {
		return 0, n.err
	}
	k, err := n.w.Write(p)
	if err != nil {
		n.err = fmt.Errorf("what was asked for could not be written: %w", err)
	}
	return k, n.err
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "outbox VERB TARGET",
		Short: "Looks into an outbox, repairs it, and relays lines of JSON through one",
		Long: `Outbox looks into an outbox, repairs it, and relays lines of JSON through one.

TARGET is a file, http(s)://… of a monitor, or unix:/path of its socket. OUTBOX
in the environment stands in for it. If a file is in use, the socket beside it
(FILE.sock) is asked.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing found, 4 in use and not
reachable, 5 not allowed, 6 unhealthy, 7 not finished.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.BoolVar(&c.json, "json", false, "print one document, or one line for each event")
	f.BoolVar(&c.yes, "yes", false, "do not ask")
	f.StringVar(&c.lane, "lane", "", "the lane; needed where there are several")
	f.StringVar(&c.bucket, "bucket", "", "the bucket of a lane in an application's own database")
	f.StringArrayVar(&c.sealKeys, "seal-key", nil, "id=FILE: a key of 32 bytes, for a sealed lane; the first one seals")
	f.StringVar(&c.headerFile, "header-file", "", "a file of headers to send to a monitor, one \"Name: value\" a line")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(c.statsVerb(), c.listVerb(), c.deadVerb(), c.showVerb(), c.explainVerb(),
		c.pauseVerb(), c.resumeVerb(), c.clearThrottleVerb(), c.compactVerb(), c.eraseVerb(), c.checkVerb(), c.salvageVerb(), c.exportVerb(), c.importVerb(), c.sendVerb(), c.editVerb(), c.topVerb())
	for _, a := range acts {
		root.AddCommand(c.actVerb(a))
	}
	root.RegisterFlagCompletionFunc("lane", c.completeLanes)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.InitDefaultHelpCmd()
	for _, v := range root.Commands() {
		if v.Name() == "help" {
			v.Args = func(_ *cobra.Command, args []string) error {
				if _, _, err := root.Find(args); err != nil {
					return &exitError{exitUsage, err}
				}
				return nil
			}
		}
	}
	return root
}

// oneID is for a verb about one event. Without an ID, and with too much, it says what is expected.
func oneID(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 2:
		return fail(exitUsage, "%s takes a target and one ID, not %d arguments: outbox %s", cmd.Name(), len(args), cmd.Use)
	case len(args) == 0, len(args) == 1 && os.Getenv(environment) == "":
		return fail(exitUsage, "%s needs an ID: outbox %s", cmd.Name(), cmd.Use)
	case len(args) == 1 && !looksLikeID(args[0]):
		return fail(exitUsage, "%s needs an ID, or the first %d characters of one, and %s is none: outbox %s", cmd.Name(), minPrefix, args[0], cmd.Use)
	}
	return nil
}

// usage makes errors about arguments, which all are that there are too many, say so by their exit
// code.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fail(exitUsage, "%d %s too many: outbox %s", len(args), plural(len(args), "argument is", "arguments are"), cmd.Use)
		}
		return nil
	}
}
