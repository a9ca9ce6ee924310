package customerio_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
)

// The variables by which the test binary becomes a child that another test kills.
const (
	childFile   = "CUSTOMERIO_TEST_CHILD_FILE"
	childURL    = "CUSTOMERIO_TEST_CHILD_URL"
	childPeople = "CUSTOMERIO_TEST_CHILD_PEOPLE" // how many to import
)

func childCommand(t *testing.T, path, url string, imported int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path, childURL+"="+url, fmt.Sprint(childPeople, "=", imported))
	cmd.Stderr = os.Stderr
	return cmd
}

func childOptions(url string) *customerio.Options {
	return &customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: url, BatchItems: 100}
}

// child imports and puts live events until it is killed. It returns its exit status if it fails.
func child(path, url, imported string) int {
	n, err := strconv.Atoi(imported)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c, err := customerio.Open(path, childOptions(url))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	go c.Import(ctx, customerio.ReadCSV(strings.NewReader(people(n))), nil)
	note, err := c.Note("live")
	live := 0
	if err == nil && note != nil {
		_, err = fmt.Sscan(string(note), &live)
	}
	for ; err == nil; live++ {
		_, err = c.With(customerio.Meta{NoteKey: "live", Note: fmt.Append(nil, live+1)}).Put(ctx, liveEvent(live))
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
