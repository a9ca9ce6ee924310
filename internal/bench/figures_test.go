package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a lone writer has put is on disk if its file was synced, to the end, after the last write.
func TestReadTrace(t *testing.T) {
	for _, row := range []struct {
		name           string
		calls          string
		syncs, durable int
	}{
		{"synced", `
			1  getppid() = 7
			1  write(5</d/q>, ""..., 4) = 4
			1  fsync(5</d/q>) = 0
			1  getppid() = 7`, 1, 1},
		{"twice, by another thread", `
			1  getppid() = 7
			2  pwrite64(5</d/q>, ""..., 4, 0) = 4
			2  fdatasync(5</d/q> <unfinished ...>
			2  <... fdatasync resumed>) = 0
			2  pwrite64(5</d/q>, ""..., 4, 0) = 4
			2  fdatasync(5</d/q>) = 0
			1  getppid() = 7`, 2, 1},
		{"answered too early", `
			1  getppid() = 7
			2  write(5</d/q>, ""..., 4) = 4
			1  getppid() = 7
			2  fsync(5</d/q>) = 0
			2  write(5</d/q>, ""..., 4) = 4
			2  fsync(5</d/q> <unfinished ...>
			1  getppid() = 7
			2  <... fsync resumed>) = 0`, 2, 0},
		{"another file synced", `
			1  getppid() = 7
			1  write(5</d/q>, ""..., 4) = 4
			1  fsync(6</d/r>) = 0
			1  getppid() = 7`, 1, 0},
		{"written while it was synced", `
			1  getppid() = 7
			1  write(5</d/q>, ""..., 4) = 4
			2  fsync(5</d/q> <unfinished ...>
			1  write(5</d/q>, ""..., 4) = 4
			2  <... fsync resumed>) = 0
			1  getppid() = 7`, 1, 0},
		{"nothing written", `
			1  getppid() = 7
			1  write(1</dev/pts/1>, ""..., 4) = 4
			1  getppid() = 7`, 0, 0},
		{"before the first mark", `
			1  write(5</d/q>, ""..., 4) = 4
			1  fsync(5</d/q>) = 0
			1  getppid() = 7`, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := strings.ReplaceAll(strings.TrimSpace(row.calls), "\t", "")
			got, err := readTrace(strings.NewReader(log), "/d")
			if err != nil || got.syncs != row.syncs || got.durable != row.durable {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A window of a second has its beginning and not its end.
func TestFullest(t *testing.T) {
	began := time.Now()
	var at []time.Time
	for _, ms := range []int{0, 500, 999, 1000, 1400, 2100} {
		at = append(at, began.Add(time.Duration(ms)*time.Millisecond))
	}
	if got := fullest(at, time.Second); got != 4 { // 500 to 1400
		t.Error(got)
	}
}

// Only what was measured in the same round is divided.
func TestRatios(t *testing.T) {
	r := results{
		{"s", "g", "a", 0, metrics{"rate": 10}},
		{"s", "g", "b", 0, metrics{"rate": 5}},
		{"s", "g", "b", 1, metrics{"rate": 1}},
		{"s", "g", "a", 1, metrics{"rate": 4}},
		{"s", "g", "a", 2, metrics{"rate": 100}},
		{"s", "other", "b", 2, metrics{"rate": 1}},
	}
	if got := r.ratios("s", "g", "a", "b", "rate"); !slices.Equal(got, []float64{2, 4}) {
		t.Error(got)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.1234: "0.123", 1.996: "2.00", 12.34: "12.3", 99.96: "100", 1234567: "1,230,000", -1500: "-1,500", math.NaN(): "–",
	} {
		if got := number(x); got != want {
			t.Errorf("%v is shown as %s, want %s", x, got, want)
		}
	}
	if got := median([]float64{9, 1, 2, 4}); got != 3 {
		t.Error(got)
	}
}
