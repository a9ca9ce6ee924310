package boltfile

import (
	"os"

	bolt "go.etcd.io/bbolt"
)

// CompactFrom is compactFrom.
const CompactFrom = compactFrom

// OpenAsCopy opens a database in the way of a compaction, which does not look at it first.
func OpenAsCopy(path string) (*bolt.DB, error) {
	db, _, _, err := openBolt(path, os.O_RDWR|os.O_CREATE, 0, 0)
	return db, err
}

// LoseDescriptor closes the file below the database. Call it while no commit runs.
func (f *File) LoseDescriptor() error { return f.raw.Close() }

// SharedFiles counts the databases of applications that are remembered.
func SharedFiles() int {
	shared.Lock()
	defer shared.Unlock()
	return len(shared.files)
}
