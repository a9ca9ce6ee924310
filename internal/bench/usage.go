package main

import (
	"runtime"
	"time"
)

// usage is what the process has used so far. What the system does not tell is NaN.
type usage struct {
	at      time.Time
	cpu     float64 // seconds, user and system
	written float64 // bytes given to write calls, of files and sockets alike
	mallocs float64
}

func readUsage() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{mallocs: float64(m.Mallocs), cpu: cpuTime(), written: bytesWritten(), at: time.Now()}
}

// since returns what was used between from and u, per item.
func (u usage) since(from usage, items int) metrics {
	n := float64(items)
	return metrics{
		"rate":   n / u.at.Sub(from.at).Seconds(),
		"cpu":    (u.cpu - from.cpu) / n,
		"bytes":  (u.written - from.written) / n,
		"allocs": (u.mallocs - from.mallocs) / n,
		"items":  n,
	}
}

// live returns the heap after two collections, in bytes.
func live() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
