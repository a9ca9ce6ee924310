package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

// A target is a figure that the library has promised itself.
type target struct {
	work, aim string
	measured  func(r results) []float64 // one value of each round
	show      func(float64) string
	met       func(median float64) bool
	worst     bool // the worst round must meet it, not the median
}

func atLeast(bound float64) func(float64) bool { return func(x float64) bool { return x >= bound } }
func below(bound float64) func(float64) bool   { return func(x float64) bool { return x < bound } }

// beside is outbox against another row of the put suite.
func beside(writers int, name string) func(results) []float64 {
	return func(r results) []float64 {
		return r.ratios(putSuite.name, writersGroup(writers, 512), peers.Outbox, name, "rate")
	}
}

// of is a metric of a row.
func of(suite, group, name, metric string) func(results) []float64 {
	return func(r results) []float64 { return r.values(suite, group, name, metric) }
}

// across compares a metric between two rows of a suite's only group.
func across(suite, a, metricA, b, metricB string) func(results) []float64 {
	return func(r results) []float64 { return r.ratiosAcross(suite, "", a, metricA, "", b, metricB) }
}

func targets() []target {
	million, tenMillion, empty := pendingRow(1_000_000), pendingRow(10_000_000), pendingRow(0)
	return []target{
		{"Put, 1 writer", "0.95 of raw bbolt.Update", beside(1, peers.BboltUpdate), times, atLeast(0.95), false},
		{"Put, 64 writers", "0.95 of the hand-made group commit", beside(64, peers.BboltGroup), times, atLeast(0.95), false},
		{"Put, 512 writers", "0.95 of the hand-made group commit", beside(512, peers.BboltGroup), times, atLeast(0.95), false},
		{"Put, 64 writers", "15 times goqite", beside(64, peers.Goqite), times, atLeast(15), false},
		{"Put, 512 writers", "60 times goqite", beside(512, peers.Goqite), times, atLeast(60), false},
		{"Put, 64 writers", "8 times raw append + fdatasync", beside(64, peers.RawAppend), times, atLeast(8), false},
		{"Put with keys, 64 writers", "0.95 of without", func(r results) []float64 {
			return r.ratios(putSuite.name, writersGroup(64, 512), keyed(peers.Outbox), peers.Outbox, "rate")
		}, times, atLeast(0.95), false},
		{"Put with keys, 64 writers, a million pending", "0.95 of without", across(backlogSuite.name, million, "keyed", million, "unkeyed"), times, atLeast(0.95), false},
		{"PutAll of 1,000", "100,000 events/s", of(putSuite.name, putAllGroup, peers.Outbox, "rate"), number, atLeast(100_000), false},
		{"drain, one by one", "200,000 events/s", of(drainSuite.name, drainGroup, peers.Outbox, "rate"), number, atLeast(200_000), false},
		{"drain, one by one, with keys", "100,000 events/s", of(drainSuite.name, drainGroup, keyed(peers.Outbox), "rate"), number, atLeast(100_000), false},
		{"end to end over HTTP, MaxPending and Block", "0.5 of the client without persistence, stretch 0.6", func(r results) []float64 {
			return r.ratios(e2eSuite.name, e2eGroup, e2eBounded, e2eBare, "rate")
		}, times, atLeast(0.5), false},
		{"the same: delivered beside put", "in balance (0.9 at least)", of(e2eSuite.name, e2eGroup, e2eBounded, "balance"), times, atLeast(0.9), false},
		{"end to end over HTTP, producers without MaxPending", "0.5 of the client without persistence", func(r results) []float64 {
			return r.ratios(e2eSuite.name, e2eGroup, e2eDefault, e2eBare, "rate")
		}, times, atLeast(0.5), false},
		{"the same: delivered beside put", "in balance (0.9 at least)", of(e2eSuite.name, e2eGroup, e2eDefault, "balance"), times, atLeast(0.9), false},
		{"a million pending: Open after Close", "below 10 ms", of(backlogSuite.name, "", million, "open warm"), ms, below(0.010), false},
		{"a million pending: Open after a kill, cold", "below 1 s", of(backlogSuite.name, "", million, "open killed"), ms, below(1), false},
		{"a million pending: live heap", "below 16 MiB", of(backlogSuite.name, "", million, "heap"), asMiB, below(16 << 20), true},
		{"a million pending: p50 of a Put", "as on an empty file (1.1 times at most)", across(backlogSuite.name, million, "p50", empty, "p50"), times, below(1.1), false},
		{"ten million pending: live heap once Open has returned", "below 16 MiB", of(backlogSuite.name, "", tenMillion, "heap open"), asMiB, below(16 << 20), true},
		{"ten million pending: drain", "0.8 of that of a million", across(backlogSuite.name, tenMillion, "rate", million, "rate"), times, atLeast(0.8), false},
		{"wake-up, p50 after Put returned", "below 0.2 ms", of(wakeSuite.name, wakeGroup, peers.Outbox, "p50"), ms, below(0.0002), false},
		{"idle CPU", "below 0.01 %", of(wakeSuite.name, idleGroup, idleEmpty, "share"), percent, below(0.0001), false},
		{"idle CPU, 100,000 scheduled", "below 0.01 %", of(wakeSuite.name, idleGroup, idleTomorrow, "share"), percent, below(0.0001), false},
		{"pace at 100 in any second", "90 reached", of(paceSuite.name, "", paceStraight, "average"), number, wholeAtLeast(90), false},
		{"pace, the fullest second", "100 never exceeded", of(paceSuite.name, "", paceStraight, "fullest"), number, below(101), true},
		{"pace behind 50 ms of jitter, the fullest second", "100 never exceeded", of(paceSuite.name, "", paceJitter, "fullest"), number, below(101), true},
		{"Customer.io at 80 requests/s", "20,000 identifies/s", of(customerioSuite.name, "", customerioRow, "rate"), number, atLeast(20_000), false},
		{"bytes of an acknowledgement at 80/s", "below 4 KiB", of(bytesSuite.name, "", bytesAck, "bytes"), asKiB, below(4 << 10), false},
		{"bytes of a lone Put and its acknowledgement", "below 25 KiB", of(bytesSuite.name, "", bytesBoth, "bytes"), asKiB, below(25 << 10), false},
		{"allocations of a Put, 64 writers", "10", of(allocsSuite.name, allocsPut, "64 writers", "allocs"), number, below(10.005), false},
		{"allocations of a Put, 512 writers", "10", of(allocsSuite.name, allocsPut, "512 writers", "allocs"), number, below(10.005), false},
		{"allocations of a settled event", "5", of(allocsSuite.name, allocsDrain, peers.Outbox, "allocs"), number, below(5.005), false},
	}
}

// wholeAtLeast compares what the measured rounds to.
func wholeAtLeast(bound float64) func(float64) bool {
	return func(x float64) bool { return math.Round(x) >= bound }
}

func ms(x float64) string    { return millis(x) + " ms" }
func asKiB(x float64) string { return kib(x) + " KiB" }
func asMiB(x float64) string { return mib(x) + " MiB" }

// writeTargets shows what was aimed at beside what was measured, as far as it was.
func writeTargets(w io.Writer, r results) {
	fmt.Fprint(w, "\n## Target beside measured\n\n| work | target | measured | met |\n|---|---|--:|---|\n")
	for _, t := range targets() {
		values := t.measured(r)
		if len(values) == 0 {
			continue
		}
		judged := median(values)
		if t.worst {
			judged = slices.Max(values)
		}
		met := "**no**"
		if t.met(judged) {
			met = "yes"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.work, t.aim, shown(values, t.show, true), met)
	}
}
