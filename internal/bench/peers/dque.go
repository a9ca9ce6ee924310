package peers

import (
	"context"
	"errors"

	"github.com/joncrlsn/dque"
)

var dquePeer = Peer{
	Name: "dque", Module: "github.com/joncrlsn/dque",
	Setup: "segments of 10,000 items, turbo off, which is its default",
	Ack:   "at most once: reading removes, there is nothing to acknowledge; each read synced",
	Open: func(dir string) (Queue, error) {
		return openDque(dir)
	},
	Drain: func(ctx context.Context, dir string, n int) (done int, err error) {
		q, err := openDque(dir)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		for ; done < n && ctx.Err() == nil; done++ {
			if _, err := q.q.Dequeue(); err != nil {
				return done, err
			}
		}
		return done, nil
	},
}

type dqueItem struct{ Payload []byte }

type dqueQueue struct{ q *dque.DQue }

func openDque(dir string) (*dqueQueue, error) {
	q, err := dque.NewOrOpen("dque", dir, 10_000, func() any { return &dqueItem{} })
	if err != nil {
		return nil, err
	}
	return &dqueQueue{q}, nil
}

func (q *dqueQueue) Put(_ context.Context, _ string, payload []byte) error {
	return q.q.Enqueue(&dqueItem{payload})
}

func (q *dqueQueue) Close() error { return q.q.Close() }
