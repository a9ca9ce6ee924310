package limiter

import "testing"

func BenchmarkWait(b *testing.B) {
	for _, bench := range []struct {
		name string
		l    *Limiter
	}{
		{"no limit", &Limiter{}},
		{"high limit", &Limiter{PerSecond: 1e9, Burst: 1e9}},
	} {
		name, l := bench.name, bench.l
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+", many", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Wait(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
