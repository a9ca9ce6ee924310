//go:build race

package acceptance

// raceDetector says that everything takes ten times as long.
const raceDetector = true
