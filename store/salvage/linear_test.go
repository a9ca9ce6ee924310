package salvage_test

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// heads is a payload in which each 16 bytes could be the header of a page, or an element that leads far.
func heads(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+16 <= n; i += 16 {
		pages.Native.PutUint32(b[i:], 0)
		pages.Native.PutUint16(b[i+8:], pages.KindLeaf)
		pages.Native.PutUint16(b[i+10:], 0xff00)
		pages.Native.PutUint32(b[i+12:], 1<<20)
	}
	return b
}

// records is a payload in which each 64 bytes could be the head of a large record.
func records(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+64 <= n; i += 64 {
		b[i] = 1
		binary.BigEndian.PutUint32(b[i+format.OffPayLen:], 200_000)
	}
	return b
}

// elements is a payload that looks like a table of elements, each of which leads to the place of a
// large record.
func elements(n int) []byte {
	b := records(n)
	for i := 0; i+64 <= n; i += 64 {
		pages.Native.PutUint32(b[i+32:], pages.FlagBucket)
		pages.Native.PutUint32(b[i+36:], uint32(32*i%8192))
		pages.Native.PutUint32(b[i+40:], 8)
		pages.Native.PutUint32(b[i+44:], 200_000)
	}
	return b
}

// Salvage looks at each page a few times, whatever lies in the payloads: its work grows with the file and
// no faster.
func TestSalvageIsLinear(t *testing.T) {
	for name, payload := range map[string]func(int) []byte{
		"text":     func(n int) []byte { return bytes.Repeat([]byte("text "), n/5) },
		"ones":     func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) },
		"heads":    heads,
		"records":  records,
		"elements": elements,
	} {
		if testing.Short() && name != "records" {
			continue // one kind will do
		}
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{100, campaign.Pick(1000, 400, 100)}[:campaign.Pick(2, 2, 1)] {
				path := filepath.Join(t.TempDir(), "outbox")
				s := openStore(t, path, nil)
				items := storetest.Events(n)
				for i := range items {
					items[i].Payload = payload(9000)
				}
				storetest.Put(t, s, items...)
				storetest.CheckedClose(t, s)
				m := pagestest.Read(t, path)
				for what, damage := range map[string]func(pagestest.Image){
					"root":   func(m pagestest.Image) { clear(m.Page(m.Meta().Root)) },
					"branch": func(m pagestest.Image) { m.Page(m.Find(t, pages.KindBranch, 2))[0] ^= 1 },
					"leaf":   func(m pagestest.Image) { m.Page(m.Find(t, pages.KindLeaf, 2))[20] ^= 1 },
					"metas":  func(m pagestest.Image) { clear(m[:2*pagestest.PageSize]) },
				} {
					bad := bytes.Clone(m)
					damage(bad)
					looked, err := salvage.Looked(pagestest.Image(bad).Write(t))
					if have := int64(len(m)) / pagestest.PageSize; err != nil || looked > 12*have {
						t.Errorf("%d items, %s damaged: looked at %d pages, the file has %d; %v", n, what, looked, have, err)
					}
					if n != 100 {
						continue
					}
					if res, _ := salvaged(t, bad); res.Saved+res.Suspicious < n {
						t.Errorf("%s damaged: %+v, want %d items", what, res, n)
					}
				}
			}
		})
	}
}
