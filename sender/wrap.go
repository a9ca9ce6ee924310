package sender

import (
	"context"
	"fmt"
)

// Wrap returns t with around about each of its requests: to measure, trace, log, or change what is
// sent or answered. around gets the items of one request, one alone unless t is a [BatchTransport],
// and returns what a SendBatch returns. It sends with send, which may be called more than once, or
// not at all; send returns one error or nil for each item that it is given. around must be safe for
// concurrent use, and must not modify the items: it passes copies on. Of a request it may return
// the errors as they are, so that their marks stay.
//
// The result is a [BatchTransport], a [Prober] and an [IdleCloser] exactly if t is. These calls,
// and BatchLimit, go to t directly. A nil t or around returns t.
func Wrap(t Transport, around func(ctx context.Context, items []Item, send func(context.Context, []Item) []error) []error) Transport {
	if f, ok := t.(TransportFunc); t == nil || ok && f == nil || around == nil {
		return t // New says what is missing
	}
	one := wrapped{t, around}
	b, batch := t.(BatchTransport)
	p, prober := t.(Prober)
	c, closer := t.(IdleCloser)
	many := wrappedBatch{one, b}
	switch {
	case batch && prober && closer:
		return struct {
			wrappedBatch
			Prober
			IdleCloser
		}{many, p, c}
	case batch && prober:
		return struct {
			wrappedBatch
			Prober
		}{many, p}
	case batch && closer:
		return struct {
			wrappedBatch
			IdleCloser
		}{many, c}
	case batch:
		return many
	case prober && closer:
		return struct {
			wrapped
			Prober
			IdleCloser
		}{one, p, c}
	case prober:
		return struct {
			wrapped
			Prober
		}{one, p}
	case closer:
		return struct {
			wrapped
			IdleCloser
		}{one, c}
	}
	return one
}

// wrapped is a [Transport] with something around it.
type wrapped struct {
	t      Transport
	around func(context.Context, []Item, func(context.Context, []Item) []error) []error
}

func (w wrapped) Send(ctx context.Context, it Item) error {
	errs := w.around(ctx, []Item{it}, func(ctx context.Context, items []Item) []error {
		errs := make([]error, len(items))
		for i, it := range items {
			errs[i] = w.t.Send(ctx, it)
		}
		return errs
	})
	if len(errs) != 1 {
		return fmt.Errorf("sender: what is around the transport returned %d verdicts for 1 item", len(errs))
	}
	return errs[0]
}

// wrappedBatch is a [BatchTransport] with something around it.
type wrappedBatch struct {
	wrapped
	batch BatchTransport
}

func (w wrappedBatch) BatchLimit() (items, bytes int) { return w.batch.BatchLimit() }

func (w wrappedBatch) SendBatch(ctx context.Context, items []Item) []error {
	return w.around(ctx, items, w.batch.SendBatch)
}
