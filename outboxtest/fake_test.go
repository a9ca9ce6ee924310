package outboxtest_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A fake is a test that may fail, and remembers what it was told.
type fake struct {
	testing.TB
	dir      string // of TempDir
	mu       sync.Mutex
	failures []string
	logs     []string
	cleanups []func()
}

func (f *fake) Helper()                           {}
func (f *fake) Context() context.Context          { return context.Background() }
func (f *fake) Error(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (f *fake) Errorf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
func (f *fake) Fatal(args ...any)                 { f.Error(args...); runtime.Goexit() }
func (f *fake) Fatalf(format string, args ...any) { f.Errorf(format, args...); runtime.Goexit() }
func (f *fake) Log(args ...any)                   { f.log(fmt.Sprint(args...)) }
func (f *fake) Logf(format string, args ...any)   { f.log(fmt.Sprintf(format, args...)) }
func (f *fake) Output() io.Writer                 { return io.Discard }
func (f *fake) Cleanup(fn func())                 { f.cleanups = append(f.cleanups, fn) }

func (f *fake) TempDir() string { f.dir = f.TB.TempDir(); return f.dir }

func (f *fake) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failures != nil
}

func (f *fake) fail(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, text)
}

func (f *fake) log(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs = append(f.logs, text)
}

// run runs fn as the body of the test, which a fatal failure ends.
func (f *fake) run(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

// end ends the test: what it registered runs, the latest first.
func (f *fake) end() {
	f.run(func() {
		for len(f.cleanups) > 0 {
			fn := f.cleanups[len(f.cleanups)-1]
			f.cleanups = f.cleanups[:len(f.cleanups)-1]
			fn()
		}
	})
}

// failed returns what the test failed with.
func (f *fake) failed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.failures, "\n")
}
