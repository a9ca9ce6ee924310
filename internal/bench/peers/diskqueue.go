package peers

import (
	"context"
	"errors"
	"time"

	"github.com/nsqio/go-diskqueue"
)

var diskqueuePeer = Peer{
	Name: "go-diskqueue", Module: "github.com/nsqio/go-diskqueue",
	Setup: "syncEvery 1: Put is answered before the sync of its item, which follows",
	Ack:   "at most once: reading removes, there is nothing to acknowledge; each read synced",
	Open: func(dir string) (Queue, error) {
		return openDiskqueue(dir), nil
	},
	Drain: func(ctx context.Context, dir string, n int) (done int, err error) {
		q := openDiskqueue(dir)
		defer func() { err = errors.Join(err, q.Close()) }()
		for done < n {
			select {
			case <-q.q.ReadChan():
				done++
			case <-ctx.Done():
				return done, nil
			}
		}
		return done, nil
	},
}

type diskqueueQueue struct{ q diskqueue.Interface }

func openDiskqueue(dir string) *diskqueueQueue {
	silent := func(diskqueue.LogLevel, string, ...any) {}
	return &diskqueueQueue{diskqueue.New("bench", dir, 100<<20, 1, 1<<20, 1, 2*time.Second, silent)}
}

func (q *diskqueueQueue) Put(_ context.Context, _ string, payload []byte) error {
	return q.q.Put(payload)
}

func (q *diskqueueQueue) Close() error { return q.q.Close() }
