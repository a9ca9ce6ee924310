package peers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mikestefanello/backlite"
)

var backlitePeer = Peer{
	Name: "backlite", Module: "github.com/mikestefanello/backlite",
	Setup: "SQLite by mattn/go-sqlite3, WAL, synchronous=FULL, one connection, which was faster than ten",
	Ack:   "a transaction to claim and one to delete, both on disk; 10 workers",
	Open: func(dir string) (Queue, error) {
		return openBacklite(dir, nil)
	},
	Drain: drainBacklite,
}

// A backliteTask is stored as JSON: its bytes as base64.
type backliteTask struct{ Payload []byte }

func (backliteTask) Config() backlite.QueueConfig {
	return backlite.QueueConfig{Name: "bench", MaxAttempts: 3, Timeout: time.Minute, Backoff: time.Second}
}

type backliteQueue struct {
	c     *backlite.Client
	close func() error
}

func openBacklite(dir string, process func()) (*backliteQueue, error) {
	db, err := openSQLite(dir, 1)
	if err != nil {
		return nil, err
	}
	c, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: 10, ReleaseAfter: time.Hour})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c.Register(backlite.NewQueue(func(context.Context, backliteTask) error {
		process()
		return nil
	}))
	if err := c.Install(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &backliteQueue{c, db.Close}, nil
}

func (q *backliteQueue) Put(ctx context.Context, _ string, payload []byte) error {
	_, err := q.c.Add(backliteTask{payload}).Ctx(ctx).Save()
	return err
}

func (q *backliteQueue) Close() error { return q.close() }

func drainBacklite(ctx context.Context, dir string, n int) (done int, err error) {
	var processed atomic.Int64
	all := make(chan struct{})
	q, err := openBacklite(dir, func() {
		if processed.Add(1) == int64(n) {
			close(all)
		}
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	q.c.Start(context.WithoutCancel(ctx))
	select {
	case <-all:
	case <-ctx.Done():
	}
	done = int(processed.Load())
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if !q.c.Stop(stop) {
		return done, errors.New("backlite: workers did not end")
	}
	return done, nil
}
