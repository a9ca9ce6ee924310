//go:build !linux

package main

import "math"

func cpuTime() float64 { return math.NaN() }

func bytesWritten() float64 { return math.NaN() }

func resident() (all, anonymous float64) { return math.NaN(), math.NaN() }

// evict does nothing: files stay warm.
func evict(string) error { return nil }

func loadAverage() string { return "unknown" }

func mark() {}

func systemFacts(string) []string { return nil }
