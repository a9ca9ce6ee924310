//go:build race

package outbox_test

// raceDetector says that everything takes ten times as long.
const raceDetector = true
