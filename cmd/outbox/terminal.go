package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal reports whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// coloured reports whether what goes to a stream may have colours: see no-color.org.
func coloured(stream any) bool {
	return isTerminal(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// sure asks on a terminal whether something is meant. Elsewhere it needs --yes, so that no script
// hangs.
func (c *command) sure(ctx context.Context, cl *client, question string) error {
	if c.yes {
		return nil
	}
	if !isTerminal(c.in) {
		return fail(exitUsage, "%s Nobody can be asked here: add --yes", question)
	}
	if err := cl.release(); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // it ends with the program, if nobody answers
		line, _ := bufio.NewReader(c.in).ReadString('\n') // no answer is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return fail(exitUnfinished, "nothing was done")
	case <-ctx.Done():
		return ctx.Err()
	}
}
