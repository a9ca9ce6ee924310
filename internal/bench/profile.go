package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profiled has op do s and leaves profiles of the whole process, if s names a directory.
func profiled(s spec, op func(spec) (metrics, error)) (m metrics, err error) {
	if s.Profile == "" {
		return op(s)
	}
	dir := filepath.Join(s.Profile, s.Op)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cpu.Close()) }()
	runtime.MemProfileRate = 64 << 10
	runtime.SetMutexProfileFraction(100)
	runtime.SetBlockProfileRate(100_000) // ns
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	m, err = op(s)
	pprof.StopCPUProfile()
	for _, name := range []string{"allocs", "mutex", "block"} {
		f, e := os.Create(filepath.Join(dir, name))
		if e == nil {
			e = errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
		}
		err = errors.Join(err, e)
	}
	return m, err
}
