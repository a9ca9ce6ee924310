// Package acceptance tests the whole library through its public API: against processes that are
// killed, stopped or run out of descriptors, against transports, disks and clocks that misbehave,
// and against input of every kind. It also tests which package may import which.
//
// With OUTBOX_LONG=1 the long tests run in full; otherwise a shorter run of each has the same
// steps.
package acceptance
