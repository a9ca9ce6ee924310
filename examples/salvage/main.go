// Salvage saves what can be read of a damaged outbox into a fresh file:
//
//	go run ./examples/salvage events.db
//	go run ./examples/salvage -into fresh.db events.db
//
// Without -into the fresh file takes the place of the damaged one, which is kept under another
// name. A database of an application (store.In) is not replaced: -into is needed. No process may
// use the file while it runs.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/seed8107221f/outbox/store/salvage"
)

func main() {
	into := flag.String("into", "", "the fresh file; it must not exist (default: the place of the damaged one)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: salvage [-into FRESH] FILE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	res, err := salvage.File(flag.Arg(0), *into)
	if err != nil {
		fmt.Fprintln(os.Stderr, "salvage:", err)
		os.Exit(1)
	}
	for _, p := range res.Problems {
		fmt.Fprintln(os.Stderr, "found:", p)
	}
	atLeast := ""
	if res.LostUnknown {
		atLeast = "at-least-"
	}
	fmt.Printf("fresh=%s original=%s saved=%d suspicious=%d lost=%s%d\n", res.Path, res.Original, res.Saved, res.Suspicious, atLeast, res.Lost)
	if res.LostUnknown {
		fmt.Println("More may be lost: nothing that is left of the file tells how many events it held.")
	}
	if res.Suspicious > 0 {
		fmt.Println("The suspicious ones are among the dead: they may have been delivered before. Revive or drop them.")
	}
}
