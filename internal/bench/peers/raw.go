package peers

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
)

var rawAppend = Peer{
	Name:  RawAppend,
	Setup: "one file, 4 bytes of length before each item, one sync per call; no queue, only what the disk can do",
	Open: func(dir string) (Queue, error) {
		f, err := openRaw(dir)
		return &rawQueue{f: f}, err
	},
}

var rawGroup = Peer{
	Name:  RawGroup,
	Setup: "the same file, one sync for all who wait; no queue, only what the disk can do",
	Open: func(dir string) (Queue, error) {
		f, err := openRaw(dir)
		if err != nil {
			return nil, err
		}
		var buf []byte
		return &rawGroupQueue{f, newGroup(func(items []item) error {
			buf = buf[:0]
			for _, it := range items {
				buf = appendRaw(buf, it.key, it.payload)
			}
			if _, err := f.Write(buf); err != nil {
				return err
			}
			return syncData(f)
		})}, nil
	},
}

func openRaw(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "raw"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func appendRaw(b []byte, key string, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(key)+len(payload)))
	return append(append(b, key...), payload...)
}

type rawQueue struct {
	mu  sync.Mutex // held across write and sync: that is what is measured
	f   *os.File
	buf []byte
}

func (q *rawQueue) Put(_ context.Context, key string, payload []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.buf = appendRaw(q.buf[:0], key, payload)
	if _, err := q.f.Write(q.buf); err != nil {
		return err
	}
	return syncData(q.f)
}

func (q *rawQueue) Close() error { return q.f.Close() }

type rawGroupQueue struct {
	f *os.File
	g *group
}

func (q *rawGroupQueue) Put(_ context.Context, key string, payload []byte) error {
	return q.g.put(item{key, payload})
}

func (q *rawGroupQueue) Close() error {
	q.g.close()
	return q.f.Close()
}
