package salvage_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// A file of many lanes has branches above its lanes. A lane whose buckets are as large as they can be
// inside a page has a branch above them.
func TestSalvageRootsWithBranches(t *testing.T) {
	const n = 300
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("lane %03d", i))
	}
	lanes, err := s.OpenLanes(&prompt, names...)
	if err != nil {
		t.Fatal(err)
	}
	for i, lane := range lanes {
		items := storetest.Events(3)
		for j := range items {
			items[j].Payload = bytes.Repeat([]byte{byte(j)}, 180)
		}
		if storetest.Put(t, lane, items...); i > 0 {
			continue
		}
		for _, it := range storetest.Claims(t, lane, 3) {
			storetest.Settle(t, lane, storetest.Failed(it, sender.Dead, time.Time{}))
		}
		again := storetest.Events(3)
		for j := range again {
			again[j].Payload = bytes.Repeat([]byte{byte(j)}, 180)
		}
		storetest.Put(t, lane, again...)
		for _, it := range storetest.Claims(t, lane, 3) {
			storetest.Settle(t, lane, storetest.Failed(it, sender.Retry, time.Now().Add(time.Hour)))
		}
		ready := storetest.Events(3)
		for j := range ready {
			ready[j].Payload = bytes.Repeat([]byte{byte(j)}, 180)
		}
		storetest.Put(t, lane, ready...)
		late := storetest.Events(3)
		for j := range late {
			late[j].Payload = bytes.Repeat([]byte{byte(j)}, 180)
			late[j].Due = late[j].Created.AddDate(1, 0, 0)
		}
		for j := range 4 {
			if err := lane.AppendNoted(t.Context(), fmt.Sprint(j), make([]byte, 220), late[:min(j, 1)]...); err != nil {
				t.Fatal(err)
			}
			late = late[min(j, 1):]
		}
	}
	storetest.CheckedClose(t, s)
	m := pagestest.Read(t, path)
	m.Find(t, pages.KindBranch, 2) // that of the first lane
	pagesOf := int64(len(m)) / pagestest.PageSize
	looked, err := salvage.Looked(path)
	if err != nil || looked > 12*pagesOf {
		t.Errorf("looked at %d pages, the file has %d; %v", looked, pagesOf, err)
	}
	if res, _ := salvaged(t, m); res.Saved != 3*n+9 || res.Suspicious != 0 || len(res.Problems) != 0 {
		t.Errorf("%+v, want %d saved", res, 3*n+9)
	}
	clear(m.Page(m.Meta().Root))
	if res, _ := salvaged(t, m); res.Saved != 3*n+9 || res.Suspicious != 0 {
		t.Errorf("without the root: %+v, want %d saved", res, 3*n+9)
	}
}
