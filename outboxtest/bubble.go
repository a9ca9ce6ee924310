package outboxtest

import (
	"fmt"
	"strings"
	"testing/synctest"
)

// inBubble reports whether the caller runs in a bubble of testing/synctest. Outside one, Wait
// panics.
func inBubble() (in bool) {
	defer func() {
		if r := recover(); r != nil {
			in = !strings.Contains(fmt.Sprint(r), "not in a bubble") // else another goroutine waits in it
		}
	}()
	synctest.Wait()
	return true
}
