package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

var bboltUpdate = Peer{
	Name: BboltUpdate, Module: "go.etcd.io/bbolt",
	Setup: "default options, one put per transaction; a bucket, no queue",
	Open: func(dir string) (Queue, error) {
		return openBolt(dir, func(db *bolt.DB) (func(item) error, func()) {
			return func(it item) error {
				return db.Update(func(tx *bolt.Tx) error { return insert(tx.Bucket(boltBucket), it) })
			}, func() {}
		})
	},
}

var bboltBatch = Peer{
	Name: "bbolt.Batch", Module: "go.etcd.io/bbolt",
	Setup: "default options, which wait 10 ms for company; a bucket, no queue",
	Open: func(dir string) (Queue, error) {
		return openBolt(dir, func(db *bolt.DB) (func(item) error, func()) {
			return func(it item) error {
				return db.Batch(func(tx *bolt.Tx) error { return insert(tx.Bucket(boltBucket), it) })
			}, func() {}
		})
	},
}

var bboltGroup = Peer{
	Name: BboltGroup, Module: "go.etcd.io/bbolt",
	Setup: "a goroutine puts all who wait into one Update, FillPercent 1; a bucket, no queue",
	Open: func(dir string) (Queue, error) {
		return openBolt(dir, func(db *bolt.DB) (func(item) error, func()) {
			g := newGroup(func(items []item) error { return insertAll(db, items) })
			return g.put, g.close
		})
	},
}

var boltBucket = []byte("items")

type boltQueue struct {
	db  *bolt.DB
	put func(item) error
	end func() // before the database is closed
}

func openBolt(dir string, make func(*bolt.DB) (put func(item) error, end func())) (Queue, error) {
	db, err := bolt.Open(filepath.Join(dir, "bolt.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(boltBucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	put, end := make(db)
	return &boltQueue{db, put, end}, nil
}

func (q *boltQueue) Put(_ context.Context, key string, payload []byte) error {
	return q.put(item{key, payload})
}

func (q *boltQueue) Close() error {
	q.end()
	return q.db.Close()
}

// PutMany is one transaction, beside the group commit.
func (q *boltQueue) PutMany(_ context.Context, payloads [][]byte) error {
	items := make([]item, len(payloads))
	for i := range items {
		items[i].payload = payloads[i]
	}
	return insertAll(q.db, items)
}

// insertAll puts items, appended one behind the other, into one transaction.
func insertAll(db *bolt.DB, items []item) error {
	return db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(boltBucket)
		b.FillPercent = 1
		for _, it := range items {
			if err := insert(b, it); err != nil {
				return err
			}
		}
		return nil
	})
}

func insert(b *bolt.Bucket, it item) error {
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	value := it.payload
	if it.key != "" {
		value = append([]byte(it.key), it.payload...)
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, seq), value)
}
