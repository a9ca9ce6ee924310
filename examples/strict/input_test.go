package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// source is an input of n good lines, one empty and one malformed line.
func source(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"kind":"event","key":"k%d","payload":%d}`+"\n", i%7, i)
		if i == n/2 {
			b.WriteString("\nnot an event\n")
		}
	}
	return b.String()
}

// take reads at most so many chunks, returns the payloads and keeps the positions in known.
func take(t *testing.T, r io.Reader, chunks int, known map[fingerprint]position) (payloads []string, bad []malformed) {
	t.Helper()
	in := newInput(r, known)
	for range chunks {
		c, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range c.events {
			payloads = append(payloads, string(e.Payload))
		}
		bad = append(bad, c.malformed...)
		known[c.input] = c.behind
	}
	return payloads, bad
}

// However often a run is cut, and wherever between two chunks, each line is read once.
func TestInputResumes(t *testing.T) {
	t.Parallel()
	const n = 1000
	step := 1
	if testing.Short() {
		step = 3
	}
	for perRun := 1; perRun <= 7; perRun += step {
		known := map[fingerprint]position{}
		var all []string
		var bad []malformed
		for range 50 {
			payloads, m := take(t, strings.NewReader(source(n)), perRun, known)
			all, bad = append(all, payloads...), append(bad, m...)
		}
		if len(all) != n {
			t.Fatalf("%d chunks a run: %d events, want %d", perRun, len(all), n)
		}
		for i, payload := range all {
			if payload != fmt.Sprint(i) {
				t.Fatalf("%d chunks a run: event %d is %s", perRun, i, payload)
			}
		}
		if len(bad) != 1 || bad[0].line != n/2+3 {
			t.Fatalf("%d chunks a run: malformed are %v, want line %d once", perRun, bad, n/2+3)
		}
	}
}

func TestInputThatGrew(t *testing.T) {
	t.Parallel()
	known := map[fingerprint]position{}
	before := strings.TrimSuffix(source(10), "\n") // its last line has no ending yet
	take(t, strings.NewReader(before), 10, known)
	got, _ := take(t, strings.NewReader(before+"\n"+`{"kind":"event","payload":"new"}`), 10, known)
	if len(got) != 1 || got[0] != `"new"` {
		t.Errorf("the new lines are %q, want the last one", got)
	}
}

func TestAnotherInputStartsAtItsFirstLine(t *testing.T) {
	t.Parallel()
	known := map[fingerprint]position{}
	take(t, strings.NewReader(source(10)), 10, known)
	got, _ := take(t, strings.NewReader(`{"kind":"event","payload":"other"}`), 10, known)
	if len(got) != 1 {
		t.Errorf("the lines of another input are %q, want one", got)
	}
	if got, _ := take(t, strings.NewReader(source(10)), 10, known); len(got) != 0 {
		t.Errorf("the first input yields %q once more", got)
	}
}

// To go on by the count alone would pass over lines that were never put.
func TestInputThatIsNotWhatItWas(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ now, want string }{
		"changed": {strings.Replace(source(10), `"payload":3`, `"payload":33`, 1), "first 12 lines have changed"},
		"shorter": {source(4), "has 6 lines, 12 were put"},
	} {
		known := map[fingerprint]position{}
		take(t, strings.NewReader(source(10)), 10, known)
		_, err := newInput(strings.NewReader(c.now), known).next()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A pipe that has given a line and waits must not hold it back.
func TestSlowPipeHoldsNothingBack(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer r.Close()
	go w.Write([]byte(`{"kind":"event","payload":1}` + "\n" + `{"kind":"ev`)) // ends when it is read
	c, err := newInput(r, nil).next()
	if err != nil || len(c.events) != 1 {
		t.Errorf("%d events, %v, want the first", len(c.events), err)
	}
}

func TestChunksAreBounded(t *testing.T) {
	t.Parallel()
	in := newInput(strings.NewReader(strings.Repeat("\n", 1000)), nil)
	for want := uint64(chunkLines); want <= 1000; want += chunkLines {
		if c, err := in.next(); err != nil || c.behind.lines != want {
			t.Fatalf("the chunk ends behind line %d (%v), want %d", c.behind.lines, err, want)
		}
	}
}

func TestPositionsAreKept(t *testing.T) {
	t.Parallel()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "q.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	known := map[fingerprint]position{}
	take(t, strings.NewReader(source(10)), 10, known)
	take(t, strings.NewReader(source(300)[1:]), 1, known)
	err = db.Update(func(tx *bbolt.Tx) error {
		for input, p := range known {
			if err := p.save(tx, input); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := loadPositions(db)
	if err != nil || len(known) != 2 || fmt.Sprint(got) != fmt.Sprint(known) {
		t.Errorf("%d positions are read (%v), want the %d that were kept", len(got), err, len(known))
	}
}

func TestDamagedPositionIsReported(t *testing.T) {
	t.Parallel()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "q.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.Update(func(tx *bbolt.Tx) error {
		bucket, _ := tx.CreateBucket(positions)
		return bucket.Put([]byte("short"), nil)
	})
	if _, err := loadPositions(db); err == nil {
		t.Error("a position of the wrong size is read without an error")
	}
}

// The sample is what it says, and what its generator makes.
func TestSample(t *testing.T) {
	t.Parallel()
	first := map[string]string{}
	events := 0
	in := newInput(strings.NewReader(string(sample)), nil)
	for {
		c, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil || c.malformed != nil {
			t.Fatal(err, c.malformed)
		}
		for _, e := range c.events {
			events++
			if first[e.Key] == "" {
				first[e.Key] = e.Kind
			} else if e.Kind == "identify" {
				t.Errorf("line %d: %s is identified again", e.line, e.Key)
			}
		}
	}
	if events < 1900 || events > 2100 || len(first) != 300 {
		t.Errorf("%d events of %d customers, want about 2000 of 300", events, len(first))
	}
	for key, kind := range first {
		if kind != "identify" {
			t.Errorf("%s begins with %s", key, kind)
		}
	}
	made := filepath.Join(t.TempDir(), "events.ndjson")
	if out, err := exec.Command("go", "run", "generate.go", made).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(made); err != nil || string(got) != string(sample) {
		t.Errorf("events.ndjson is not what generate.go writes (%v): run go generate", err)
	}
}
