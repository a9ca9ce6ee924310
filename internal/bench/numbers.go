package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// median returns the middle of xs, or the mean of the two in the middle; NaN when there are none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	xs = slices.Sorted(slices.Values(xs))
	return (xs[(len(xs)-1)/2] + xs[len(xs)/2]) / 2
}

// percentile returns the value below which a share q of the sorted durations lie, in seconds.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Seconds()
}

// number shows three significant digits, and whole numbers above a hundred in groups of three.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x == 0:
		return "0"
	case math.Abs(x) >= 99.95:
		digits := math.Pow(10, math.Floor(math.Log10(math.Abs(x)))-2)
		return grouped(math.Round(x/digits) * digits)
	case math.Abs(x) < 0.001:
		return strconv.FormatFloat(x, 'g', 2, 64)
	default:
		return strconv.FormatFloat(x, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(x))))), 64)
	}
}

func grouped(x float64) string {
	s := strconv.FormatInt(int64(math.Round(math.Abs(x))), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if x < 0 {
		return "-" + s
	}
	return s
}

func millis(x float64) string  { return number(x * 1000) }
func kib(x float64) string     { return number(x / (1 << 10)) }
func mib(x float64) string     { return number(x / (1 << 20)) }
func percent(x float64) string { return number(x*100) + " %" }

func yesShare(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x >= 0.9999:
		return "yes"
	case x < 0.01:
		return "**no**"
	}
	return fmt.Sprintf("**%.0f %%**", x*100)
}
