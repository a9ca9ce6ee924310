//go:build linux

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

func init() { children["in"] = applying }

// applying is an application with a lane in its database. It commits as its input says, always on the
// same thread, and says what became of that.
func applying(path string) error {
	runtime.LockOSThread()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	s, err := In(db, "events", &prompt)
	if err != nil {
		return err
	}
	fmt.Println("open")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "tx":
			err = appendTx(db, s, event("a", ""))
		case "append":
			err = s.Append(context.Background(), event("a", ""))
		case "heal":
			err = Heal(db)
		}
		switch {
		case err == nil:
			fmt.Println("well")
		case errors.Is(err, sender.ErrStorage):
			fmt.Println("refused")
		default:
			fmt.Println("failed")
		}
	}
	return errors.Join(s.Check(context.Background()), s.Close(), db.Close())
}

// A commit of the application whose meta page could not be synced is noticed by the next transaction
// that a lane takes part in, and nothing is built on it. Set OUTBOX_STRACE=1 to run it.
func TestInNoticesAFailedCommit(t *testing.T) {
	needStrace(t)
	for _, tt := range []struct {
		name  string
		steps [][2]string // command, answer
	}{
		{"the application goes on", [][2]string{{"tx", "refused"}, {"append", "well"}, {"tx", "well"}}},
		{"the lane goes on", [][2]string{{"append", "refused"}, {"append", "well"}, {"tx", "well"}}},
		{"the application heals it", [][2]string{{"heal", "well"}, {"tx", "well"}, {"append", "well"}}},
		{"healed after it was refused", [][2]string{{"tx", "refused"}, {"heal", "well"}, {"tx", "well"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			openDB(t, path).Close()
			// strace counts for each thread, and no other thread syncs as often. The fifth transaction of
			// the application syncs its meta page by the tenth call.
			c := startChild(t, "in", path, "strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=10")
			c.says(t, "open")
			for _, step := range append([][2]string{{"tx", "well"}, {"tx", "well"}, {"tx", "well"}, {"tx", "well"}, {"tx", "failed"}}, tt.steps...) {
				fmt.Fprintln(c.in, step[0])
				c.says(t, step[1])
			}
			c.end(t)
		})
	}
}
