package powercut

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
)

// often runs a scene on many disks, whose losses are drawn differently.
func often(t *testing.T, scene func(t *testing.T, d *Disk)) {
	t.Helper()
	for seed := range uint64(300) {
		d := NewDisk(rand.New(rand.NewPCG(seed, 0)))
		d.Arm(Plan{}, func() { t.Error("killed without a plan") })
		scene(t, d)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// create makes a file with that content and puts all of it on disk.
func create(t *testing.T, d *Disk, name string, content []byte) uint64 {
	t.Helper()
	n, err := d.Create(name)
	must(t, err, put(d, n, 0, content), d.Sync(n), d.SyncDir())
	return n
}

// put writes all of data.
func put(d *Disk, n uint64, off int64, data []byte) error {
	done, err := d.Write(n, off, data)
	if err == nil && done != len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// content returns what programs see of a file; nil: it is not there.
func content(t *testing.T, d *Disk, name string) []byte {
	t.Helper()
	n, err := d.Lookup(name)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	size, _, err2 := d.Size(n)
	must(t, err, err2)
	b := make([]byte, size)
	_, err = d.Read(n, 0, b)
	must(t, err)
	return b
}

func crash(d *Disk) {
	d.Crash()
	d.Arm(Plan{}, func() {})
}

var (
	old  = bytes.Repeat([]byte("o"), 3*page)
	next = bytes.Repeat([]byte("n"), 3*page)
)

func TestSyncedSurvives(t *testing.T) {
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		must(t, put(d, n, 0, next), d.Sync(n))
		crash(d)
		if got := content(t, d, "f"); !bytes.Equal(got, next) {
			t.Fatalf("%d bytes that were synced have changed", len(got))
		}
	})
}

// Every mixture must be possible, of whole sectors, or else the campaigns prove too little.
func TestUnsyncedSurvivesInParts(t *testing.T) {
	whole := map[byte]string{'o': "nothing", 'n': "all"}
	seen := make(map[string]int)
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		for off := 0; off < len(next); off += page {
			must(t, put(d, n, int64(off), next[off:off+page]))
		}
		crash(d)
		got := content(t, d, "f")
		kind := whole[got[0]]
		for i := 0; i < len(got); i += sector {
			unit := got[i : i+sector]
			if bytes.Count(unit, unit[:1]) != sector {
				t.Fatalf("the sector at %d is torn", i)
			}
			if unit[0] != got[0] {
				kind = "some pages"
			}
		}
		for i := 0; i < len(got); i += page {
			if p := got[i : i+page]; bytes.Count(p, p[:1]) != page {
				kind = "torn pages"
			}
		}
		if got[0] == 'o' && got[len(got)-1] == 'n' {
			seen["the last, not the first"]++
		}
		seen[kind]++
	})
	for _, kind := range []string{"nothing", "all", "some pages", "torn pages", "the last, not the first"} {
		if seen[kind] == 0 {
			t.Errorf("never survived: %s (%v)", kind, seen)
		}
	}
}

func TestNamesAreSyncedApart(t *testing.T) {
	left := make(map[string]int)
	often(t, func(t *testing.T, d *Disk) {
		create(t, d, "kept", old)
		n, err := d.Create("new")
		must(t, err, put(d, n, 0, next), d.Sync(n), d.Rename("kept", "moved"))
		crash(d)
		names := strings.Join(d.Names(), " ")
		left[names]++
		if (content(t, d, "kept") == nil) == (content(t, d, "moved") == nil) {
			t.Fatalf("a file was moved by halves: %s", names)
		}
		if got := content(t, d, "new"); got != nil && !bytes.Equal(got, next) {
			t.Fatal("a file that was synced has changed")
		}
	})
	for _, names := range []string{"kept", "moved", "kept new", "moved new"} {
		if left[names] == 0 {
			t.Errorf("never left: %s (%v)", names, left)
		}
	}
}

func TestFailedSyncForgets(t *testing.T) {
	lost := 0
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		d.Arm(Plan{Fault: Fault{Kind: Sync, At: 1}}, func() {})
		must(t, put(d, n, 0, next))
		if err := d.Sync(n); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the sync that was to fail returned %v", err)
		}
		if !bytes.Equal(content(t, d, "f"), next) {
			t.Fatal("what could not be written is no longer seen")
		}
		must(t, d.Sync(n)) // it has nothing to write
		must(t, put(d, n, page, next[:page]), d.Sync(n))
		crash(d)
		got := content(t, d, "f")
		if !bytes.Equal(got[page:2*page], next[:page]) {
			t.Fatal("what was written again, and synced, is lost")
		}
		if !bytes.Equal(got, next) {
			lost++
		}
	})
	if lost == 0 {
		t.Error("a failed sync never lost anything")
	}
}

func TestStop(t *testing.T) {
	for _, c := range []struct {
		plan Plan
		want string // of the operations write, sync, write, sync, write, sync: + done, x not
	}{
		{Plan{}, "++++++"},
		{Plan{Stop: 1}, "xxxxxx"},
		{Plan{Stop: 4}, "+++xxx"},
		{Plan{Stop: 2, AtSync: true}, "+++xxx"},
		{Plan{Fault: Fault{Kind: Sync, At: 2}}, "+++x++"},
		{Plan{Fault: Fault{Kind: Sync, At: 2, Times: 2}}, "+++x+x"},
		{Plan{Fault: Fault{Kind: Sync, At: 1}, Stop: 2}, "+x+xxx"},
	} {
		d := NewDisk(rand.New(rand.NewPCG(1, 1)))
		d.Arm(Plan{}, nil)
		n := create(t, d, "f", old)
		kills := 0
		d.Arm(c.plan, func() { kills++ })
		got := ""
		for i := range 6 {
			var err error
			if i%2 == 0 {
				err = put(d, n, 0, next)
			} else {
				err = d.Sync(n)
			}
			if err == nil {
				got += "+"
			} else {
				got += "x"
			}
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.plan, got, c.want)
		}
		if stopped, _ := d.Disarm(); stopped != (c.plan.Stop > 0) || kills != 0 != stopped {
			t.Errorf("%+v: stopped %v, %d kills", c.plan, stopped, kills)
		}
	}
}

// With a fault of a kind, the operations of that kind fail and no others, so often, and Lift ends it.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		want  string // of three rounds of write, truncate, sync, name, and three more after Lift
	}{
		{Fault{}, "++++ ++++ ++++ | ++++ ++++ ++++"},
		{Fault{Kind: Write, At: 2}, "++++ x+++ ++++ | ++++ ++++ ++++"},
		{Fault{Kind: Truncate, At: 1, Times: 2}, "+x++ +x++ ++++ | ++++ ++++ ++++"},
		{Fault{Kind: Sync, At: 2, Times: Forever}, "++++ ++x+ ++x+ | ++++ ++++ ++++"},
		{Fault{Kind: Name, At: 3, Times: Forever}, "++++ ++++ +++x | ++++ ++++ ++++"},
		{Fault{Kind: Write, At: 4}, "++++ ++++ ++++ | ++++ ++++ ++++"},
	} {
		d := NewDisk(rand.New(rand.NewPCG(1, 1)))
		d.Arm(Plan{}, nil)
		n, size, got := create(t, d, "f", old), int64(len(old)), ""
		d.Arm(Plan{Fault: c.fault}, nil)
		for i := range 6 {
			if got += " "; i == 3 {
				d.Lift()
				got += "| "
			}
			size++
			for _, err := range []error{put(d, n, 0, next), d.Extend(n, size), d.Sync(n), d.Link(n, strings.Repeat("f", i+2))} {
				if err == nil {
					got += "+"
				} else if errors.Is(err, syscall.EIO) {
					got += "x"
				} else {
					t.Error(err)
				}
			}
		}
		if got = strings.TrimSpace(got); got != c.want {
			t.Errorf("%+v: %s, want %s", c.fault, got, c.want)
		}
	}
}

func TestShortWrite(t *testing.T) {
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		d.Arm(Plan{Fault: Fault{Kind: Write, At: 1, Short: true}}, nil)
		done, err := d.Write(n, 0, next)
		if err != nil || done < 1 || done >= len(next) {
			t.Fatalf("%d bytes of %d written, %v", done, len(next), err)
		}
		if _, err := d.Write(n, int64(done), next[done:]); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the rest: %v", err)
		}
		if got := content(t, d, "f"); !bytes.Equal(got, append(bytes.Clone(next[:done]), old[done:]...)) {
			t.Fatal("more or less than a beginning is seen")
		}
		must(t, put(d, n, 0, next))
	})
}

func TestFull(t *testing.T) {
	parts := 0
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		d.Limit(5*page, false)
		must(t, put(d, n, 0, next), d.Extend(n, 100*page)) // neither needs room
		switch done, err := d.Write(n, int64(len(old)), next); {
		case err == nil && done == 2*page:
			parts++
		case !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("%d bytes of %d written, with room for %d, %v", done, len(next), 2*page, err)
		}
		must(t, d.Rename("f", ""), d.Sync(n))
		if d.Used() == 0 {
			t.Fatal("a file that is open takes no room")
		}
		d.Release(n)
		m, err := d.Create("g")
		must(t, err, put(d, m, 0, next))
		d.Lift()
		must(t, put(d, m, 0, make([]byte, 50*page)))
	})
	if parts < 100 || parts > 200 {
		t.Errorf("of 300 writes %d were done in part", parts)
	}
}

// A thin disk takes what it has no room for, and forgets it at the sync.
func TestThin(t *testing.T) {
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		d.Limit(4*page, true)
		must(t, put(d, n, 0, next), put(d, n, int64(len(old)), next))
		if err := d.Sync(n); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the sync returned %v", err)
		}
		must(t, d.Sync(n)) // it has nothing to write
		must(t, put(d, n, 0, next), put(d, n, int64(len(old)), next[:page]), d.Sync(n))
		crash(d)
		if got := content(t, d, "f"); !bytes.Equal(got[:4*page], append(bytes.Clone(next), next[:page]...)) {
			t.Fatal("what had room, and was synced, is lost")
		}
	})
}

// What a file was longer by may be zeros or garbage after a cut.
func TestGarbage(t *testing.T) {
	zeros, garbage := 0, 0
	often(t, func(t *testing.T, d *Disk) {
		n := create(t, d, "f", old)
		must(t, put(d, n, 4*page, next[:page]))
		crash(d)
		if got := content(t, d, "f"); len(got) == 5*page {
			if hole := got[3*page : 4*page]; bytes.Count(hole, []byte{0}) == page {
				zeros++
			} else {
				garbage++
			}
		}
	})
	if zeros == 0 || garbage == 0 {
		t.Errorf("%d times zeros, %d times garbage", zeros, garbage)
	}
}
