package store

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
)

// tamper changes the file as if the disk had, behind the back of its lanes.
func tamper(s *Store, change func(tx *bolt.Tx) error) error {
	l := new(tampering)
	if err := s.file.Enter("tampering", l); err != nil {
		return err
	}
	defer s.file.Leave("tampering")
	return s.file.Do(context.Background(), &boltfile.Write{Lane: l, Change: change}, 0)
}

// tampering is a lane that nobody but its file knows of.
type tampering struct{ _ byte }

func (*tampering) Apply(tx *bolt.Tx, group []*boltfile.Write) (err error) {
	for _, w := range group {
		if change, ok := w.Change.(func(*bolt.Tx) error); ok && err == nil {
			err = change(tx)
		}
	}
	return err
}

func (*tampering) Committed(uint64, []*boltfile.Write) {}
func (*tampering) Reload() error                       { return nil }
