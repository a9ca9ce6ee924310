// Outbox looks into an outbox, repairs it, and relays lines of JSON through one:
//
//	outbox stats events.db
//	outbox explain events.db 0199d25f
//	outbox revive https://ops.example.com/outbox/ --lane mail --all --dry-run
//	tail -F app.ndjson | outbox send --to https://api.example.com/events --db spool.db --rate 100/1s
//
// The target is a file that no program has open, the address of a monitor, or unix:/path of its
// socket. For a file that is in use, the socket beside it is asked. See docs/command.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second one ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
