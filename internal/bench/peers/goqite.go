package peers

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	"maragu.dev/goqite"
)

var goqitePeer = Peer{
	Name: Goqite, Module: "maragu.dev/goqite",
	Setup: "SQLite by mattn/go-sqlite3, WAL, synchronous=FULL, one connection as its README has it",
	Ack:   "a transaction to receive and one to delete, both on disk",
	Open: func(dir string) (Queue, error) {
		return openGoqite(dir)
	},
	Drain: drainGoqite,
}

type goqiteQueue struct {
	db *sql.DB
	q  *goqite.Queue
}

func openSQLite(dir string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "queue.sqlite")+"?_journal=WAL&_synchronous=FULL&_timeout=60000&_txlock=immediate&_fk=true")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func openGoqite(dir string) (*goqiteQueue, error) {
	_, err := os.Stat(filepath.Join(dir, "queue.sqlite"))
	isNew := errors.Is(err, os.ErrNotExist)
	db, err := openSQLite(dir, 1)
	if err != nil {
		return nil, err
	}
	if isNew {
		if _, err := db.Exec(goqiteSchema); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return &goqiteQueue{db, goqite.New(goqite.NewOpts{DB: db, Name: "bench", MaxReceive: 1000, Timeout: time.Hour})}, nil
}

func (q *goqiteQueue) Put(ctx context.Context, _ string, payload []byte) error {
	return q.q.Send(ctx, goqite.Message{Body: payload})
}

func (q *goqiteQueue) Close() error { return q.db.Close() }

// drainGoqite receives and deletes in turn: more workers would only share the one connection.
func drainGoqite(ctx context.Context, dir string, n int) (done int, err error) {
	q, err := openGoqite(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	for ; done < n && ctx.Err() == nil; done++ {
		m, err := q.q.Receive(context.WithoutCancel(ctx))
		if err != nil {
			return done, err
		}
		if m == nil {
			return done, errors.New("goqite: empty too early")
		}
		if err := q.q.Delete(context.WithoutCancel(ctx), m.ID); err != nil {
			return done, err
		}
	}
	return done, nil
}
