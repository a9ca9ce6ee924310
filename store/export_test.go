package store

import "time"

// OpenAt is Open with a clock of the test's own.
func OpenAt(path string, o *Options, now func() time.Time) (*Store, error) { return open(path, o, now) }

// Fault has fn asked before and after each commit of the file of s: its error makes that commit fail,
// before or after it is on disk. Call it while no commit runs.
func (s *Store) Fault(fn func(committed bool) error) { s.file.SetFault(fn) }

// StepWall is t after the wall clock was stepped by d, whole seconds, while the monotonic one ran on.
var StepWall = stepWall
