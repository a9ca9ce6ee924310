package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// completing is how long a completion may take.
const completing = 2 * time.Second

// completeLanes offers the lanes of the target.
func (c *command) completeLanes(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completing)
	defer cancel()
	target := ""
	if len(args) > 0 {
		target = args[0]
	}
	c.forCompletion(target, func(cl *client) error {
		var o overview
		_, err := cl.get(ctx, &o)
		for _, l := range o.Lanes {
			names = append(names, visible(l.Name))
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

var errEnough = errors.New("enough")

// completeIDs offers files for the target, and then IDs of events in these lists.
func (c *command) completeIDs(lists ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, begun string) (ids []string, _ cobra.ShellCompDirective) {
		target, _, err := split(append(args, "00000000"), -1)
		if err != nil || len(args) == 0 && target == "00000000" {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(context.Background(), completing)
		defer cancel()
		c.forCompletion(target, func(cl *client) error {
			lane, err := cl.theLane(ctx, c.lane)
			for _, list := range lists {
				if err == nil {
					_, _, _, err = cl.each(ctx, lane, &filter{state: list, id: begun}, 100, func(e *event, _ []byte) error {
						ids = append(ids, visible(e.ID)+"\t"+cut(visible(e.Kind+" "+e.Key), 60))
						if len(ids) >= 100 {
							return errEnough
						}
						return nil
					})
				}
			}
			return err
		})
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

// forCompletion calls do with the target. Errors are left out: there is nowhere to say them.
func (c *command) forCompletion(target string, do func(*client) error) {
	if target == "" {
		target, _, _ = split(nil, 0)
	}
	if cl, err := c.open(target); err == nil {
		do(cl)
		cl.close()
	}
}
