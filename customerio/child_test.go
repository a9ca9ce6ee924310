package customerio_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
)

// The variables by which the test binary becomes a child that another test kills.
const (
	childFile = "CUSTOMERIO_TEST_CHILD_FILE"
	childURL  = "CUSTOMERIO_TEST_CHILD_URL"
)

func childCommand(t *testing.T, path, url string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path, childURL+"="+url)
	cmd.Stderr = os.Stderr
	return cmd
}

func childOptions(url string) *customerio.Options {
	return &customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: url, BatchItems: 100}
}

// child imports and puts live events until it is killed. It returns its exit status if it fails.
func child(path, url string) int {
	c, err := customerio.Open(path, childOptions(url))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	go c.Import(ctx, customerio.ReadCSV(strings.NewReader(people(10_000))), nil)
	note, err := c.Note("live")
	n := 0
	if err == nil && note != nil {
		_, err = fmt.Sscan(string(note), &n)
	}
	for ; err == nil; n++ {
		_, err = c.PutNoted(ctx, "live", fmt.Append(nil, n+1), liveEvent(n))
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
