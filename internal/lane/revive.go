package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed8107221f/outbox/internal/errtext"
	"github.com/seed8107221f/outbox/sender"
)

// What one commit of ReviveAll takes at most, and a first item of any size.
const (
	reviveItems = 500
	reviveBytes = 4 << 20
)

// ReviveAll revives the dead items that match selects; nil: all. One that it has revived has a Seq
// beyond last, and stays dead if it dies again. Others that die while it runs keep their Seq, and are
// revived if they lie ahead.
func (l *Lane) ReviveAll(ctx context.Context, match func(*sender.Item) bool) (n int, err error) {
	return n, errtext.With(l.Store, func(s sender.Browser) error {
		return errtext.With(l.Store, func(r sender.Reviver) (err error) {
			n, err = reviveAll(ctx, s, r, match)
			return err
		})
	})
}

func reviveAll(ctx context.Context, s sender.Browser, r sender.Reviver, match func(*sender.Item) bool) (n int, err error) {
	newest, err := s.List(ctx, sender.Query{State: sender.StateDead, Newest: true, Limit: 1})
	if err != nil || len(newest.Items) == 0 {
		return 0, err
	}
	last := newest.Items[0].Seq
	var stays error // why an item cannot be revived; the first reason. List shows those that cannot be read
	var found []sender.Item
	size, past := 0, false
	q := sender.Query{State: sender.StateDead, Limit: 1, Scan: reviveItems, Match: func(it *sender.Item) bool {
		if past = past || it.Seq > last; past || match != nil && !match(it) {
			return false
		}
		found = append(found, sender.Item{ID: it.ID, Seq: it.Seq}) // without the payload
		size += it.Size()
		return size >= reviveBytes // ends the page
	}}
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return n, err
		}
		revived, alone, err := revive(ctx, r, found)
		if n += revived; err != nil {
			return n, err
		}
		if stays == nil {
			stays = alone
		}
		for _, it := range page.Items {
			if it.Err != nil && it.Seq <= last && stays == nil {
				stays = fmt.Errorf("item %v cannot be read: %w", it.ID, it.Err)
			}
		}
		if q.After = page.Next; page.Next == "" || past {
			return n, stays
		}
		found, size = found[:0], 0
	}
}

// revive revives items in one commit. If one of them cannot be revived it finds that one by halves,
// and says why: alone. err ends everything.
func revive(ctx context.Context, r sender.Reviver, items []sender.Item) (n int, alone, err error) {
	if ctx.Err() != nil {
		return 0, nil, context.Cause(ctx)
	}
	if len(items) == 0 {
		return 0, nil, nil
	}
	n, err = r.Revive(ctx, items...)
	refusesAll := func(e error) bool { return errors.Is(err, e) }
	if err == nil || ctx.Err() != nil || slices.ContainsFunc([]error{sender.ErrFull, sender.ErrStorage, sender.ErrClosed, errors.ErrUnsupported}, refusesAll) {
		return n, nil, err
	}
	if len(items) == 1 {
		return n, err, nil
	}
	for half := range slices.Chunk(items, (len(items)+1)/2) {
		m, a, err := revive(ctx, r, half)
		if n += m; err != nil {
			return n, alone, err
		}
		if alone == nil {
			alone = a
		}
	}
	return n, alone, nil
}
