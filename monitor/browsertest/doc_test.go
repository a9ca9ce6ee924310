// Package browsertest proves package monitor in a browser, as a person uses it: Debian's chromium,
// driven over its protocol. It is a module of its own, so that the driver is no dependency of the
// outbox.
//
// It needs chromium, and the rules of accessibility from npm: apt-get install chromium; npm ci. What
// is missing skips the tests, except with OUTBOX_BROWSER=1, where it fails them. With OUTBOX_SHOTS=DIR
// the screenshots stay there.
package browsertest
