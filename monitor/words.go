package monitor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A word is how a state is shown.
type word struct {
	Text  string // "Held"
	Class string // of its colours
	Icon  string
	worst int // the order of the overview
}

var words = map[sender.LaneState]word{
	sender.LaneClosed:    {"Closed", "bad", "cross", 0},
	sender.LaneHeld:      {"Held", "bad", "stop", 1},
	sender.LaneThrottled: {"Throttled", "warn", "clock", 2},
	sender.LanePaused:    {"Paused", "info", "pause", 3},
	sender.LaneWaiting:   {"Waiting", "mute", "clock", 5},
	sender.LaneSending:   {"Sending", "ok", "check", 6},
	sender.LaneStoring:   {"Storing", "mute", "lines", 7},
	sender.LaneIdle:      {"Idle", "mute", "check", 8},
}

// failing is the word of a lane that waits since all tries fail.
var failing = word{"Waiting", "warn", "clock", 4}

// failing reports whether a lane waits for retries, and nothing was delivered since the last
// failure. An outage that only a few events meet does not hold the lane.
func (d *summary) failing() bool {
	return d.State == sender.LaneWaiting && d.Retrying > 0 && d.past.failing > 0
}

// word is how the state of a lane is shown.
func (d *summary) word() word {
	if d.failing() {
		return failing
	}
	return words[d.State]
}

// tries says how many failed in a row.
func (d *summary) tries() string {
	if d.past.failing == 1 {
		return "the last try failed"
	}
	return "the last " + count(d.past.failing) + " tries failed"
}

// stateWords are the words for states of items. Class is for the banner or tag, Icon also for a
// gate.
var stateWords = map[sender.State]word{
	sender.StateReady:     {Text: "Ready", Class: "info", Icon: "clock"},
	sender.StateInFlight:  {Text: "In flight", Class: "ok", Icon: "arrow"},
	sender.StateInLine:    {Text: "In line", Class: "mute", Icon: "lines"},
	sender.StateRetrying:  {Text: "Retrying", Class: "warn", Icon: "clock"},
	sender.StateScheduled: {Text: "Scheduled", Class: "mute", Icon: "clock"},
	sender.StateDead:      {Text: "Dead", Class: "bad", Icon: "cross"},
}

// states are those of items, in the order of the counts.
var states = []sender.State{sender.StateReady, sender.StateInFlight, sender.StateInLine, sender.StateRetrying, sender.StateScheduled, sender.StateDead}

// icons are the d of a path in a box of 24 by 24.
var icons = map[string]string{
	"stop":  "M8 2.5h8L21.5 8v8L16 21.5H8L2.5 16V8zM12 7.5v5.5M12 16.5v.1",
	"clock": "M12 2.5a9.5 9.5 0 1 0 0 19a9.5 9.5 0 1 0 0-19M12 6.5V12l3.5 2.5",
	"pause": "M9 5v14M15 5v14",
	"check": "M4 12.5l5.5 5.5L20 7",
	"cross": "M6 6l12 12M18 6L6 18",
	"lines": "M4 7h16M4 12h11M4 17h6",
	"arrow": "M4 12h15M13 6l6 6-6 6",
	"ask":   "M12 2.5a9.5 9.5 0 1 0 0 19a9.5 9.5 0 1 0 0-19M9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.9-1.1 1.8M12 16.8v.1",
}

// A cause says in words what holds a lane, and what to do.
type cause struct {
	What string // follows "Held: "
	Do   string // an order to the reader
	Then string // what happens then
}

const opens = "the lane opens with the first success"

// causeOf finds the words for a hold. Its error tells more than who is at fault, if there is one.
func causeOf(by string, err error) cause {
	switch by {
	case sender.HeldByStorage:
		return storageCause(err)
	case sender.HeldByLimiter:
		return cause{"the limiter fails", "Look at what the limiter depends on", "nothing is sent without its leave, and the lane goes on when it works again"}
	case sender.HeldByTransport:
		return cause{"calls into the transport do not return", "Fix the timeouts of the transport", "each call keeps its slot until it returns, or until the program restarts"}
	}
	var status interface{ Status() int }
	var name *net.DNSError
	var timeout interface{ Timeout() bool }
	var op *net.OpError
	switch {
	case errors.As(err, &status) && status.Status() > 0:
		return statusCause(status.Status())
	case errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)):
		return cause{"the certificate of the destination is not accepted", "Renew the certificate, or trust who signed it", opens}
	case errors.As(err, &name):
		return cause{"the name of the destination is not found", "Check the host name and the DNS", opens}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return cause{"the destination does not answer in time", "Look at the destination and at the network", opens}
	case errors.As(err, &op):
		return cause{"the destination cannot be reached", "Check its address, the network and whether it runs", opens}
	}
	return cause{"the destination does not work", "Look at the error and at the destination", opens}
}

func statusCause(status int) cause {
	switch {
	case status == 401, status == 403, status == 407:
		return cause{"the destination refuses our credentials", "Renew the credentials", opens}
	case status >= 500, status == 408:
		return cause{"the destination answers with errors", "Look at the destination; here is nothing to do", opens}
	case status >= 300 && status < 400:
		return cause{"the destination has moved", "Correct its address", opens}
	}
	return cause{"the destination refuses everything alike", "Check address, path and version of the destination, or drop the events if all of them are bad", opens}
}

func storageCause(err error) cause {
	const goesOn = "the file heals by itself, and the lane goes on"
	switch {
	case err != nil && strings.Contains(err.Error(), "the file is gone while it is in use"):
		return cause{"the file was removed while it is in use", "Do not stop the process: it holds the last copy. Put the file back, or copy it out of the process, as “the file does not open” in docs/operations.md says", "put back, the lane goes on"}
	case err != nil && strings.Contains(err.Error(), "another file has taken its place"):
		return cause{"another file has taken the place of the file", "Do not stop the process: it may hold the last copy. Put the file back", "then the lane goes on"}
	case errors.Is(err, outbox.ErrSealed):
		return cause{"the sealer cannot open what is stored", "Give the program the key that the lane was sealed with", "nothing is changed until then"}
	case errors.Is(err, outbox.ErrCorrupt):
		return cause{"the file is damaged", "Keep the file, stop the program and salvage it", "nothing is sent that cannot be recorded"}
	case errors.Is(err, outbox.ErrFull), errors.Is(err, syscall.ENOSPC):
		return cause{"the disk is full", "Free space on the disk", goesOn}
	}
	return cause{"the storage fails", "Check the disk, its permissions and the log of the system", goesOn}
}

// sentence says in one line how a lane is, for the overview.
type sentence struct {
	Before string
	Code   string // an error, as it was said
	After  string
}

func sentenceOf(d *summary, now time.Time) sentence {
	s := &d.stats
	switch s.State {
	case sender.LaneClosed:
		return sentence{Before: "The outbox is closed: what is pending stays on disk."}
	case sender.LaneHeld:
		after := ". Nothing is lost meanwhile."
		if !s.HeldSince.IsZero() {
			after = ", since " + clock(s.HeldSince, now) + after
		}
		return sentence{capital(causeOf(s.HeldBy, s.HeldErr).What) + ": ", heldText(s), after}
	case sender.LaneThrottled:
		return sentence{Before: fmt.Sprintf("The destination asked for a pause until %s, in %s. Nothing to do.", clock(s.PausedUntil, now), span(s.PausedUntil.Sub(now).Round(time.Second)))}
	case sender.LanePaused:
		return sentence{Before: "Paused" + pauseText(s.OperatorPause, now)}
	case sender.LaneStoring:
		return sentence{Before: "There is no transport: events are stored, and nothing is sent."}
	case sender.LaneWaiting:
		if d.failing() {
			return sentence{capital(d.tries()) + ": ", visible(d.past.errors[0].Error), ". " + waits(s.Retrying) + " for the next try."}
		}
		return sentence{Before: fmt.Sprintf("%s retrying, %s scheduled: nothing is due now.", count(s.Retrying), count(s.Scheduled))}
	case sender.LaneIdle:
		return sentence{Before: "Nothing is pending."}
	}
	if age := now.Sub(s.Oldest); s.Oldest.IsZero() || age < time.Second {
		return sentence{Before: "Keeps up: nothing waits for longer than a second."}
	} else if age < time.Minute {
		return sentence{Before: "Keeps up: nothing waits for longer than a minute."}
	}
	return sentence{Before: "Works on a backlog; the oldest event was put " + clock(s.Oldest, now) + "."}
}

// pauseText says by whom, until when and why.
func pauseText(p sender.Pause, now time.Time) string {
	text := ""
	if p.By != "" {
		text += " by " + visible(p.By)
	}
	if p.Until.IsZero() {
		text += " until somebody resumes it"
	} else {
		text += " until " + clock(p.Until, now)
	}
	if p.Reason != "" {
		text += ": “" + visible(p.Reason) + "”"
	}
	return text + "."
}

// heldCause is the error behind a hold as it was said.
func heldCause(s *outbox.Stats) string {
	if s.HeldErr != nil && s.HeldBy == sender.HeldByDestination {
		return s.HeldErr.Error()
	}
	return strings.TrimPrefix(s.Held, "destination unavailable: ")
}

func heldText(s *outbox.Stats) string { return visible(heldCause(s)) }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// needsYou reports whether a person has to do something about a lane.
func needsYou(d *summary) bool {
	return d.State == sender.LaneHeld || d.State == sender.LaneClosed || d.failing()
}

// headline counts the lanes that need somebody.
func headline(need, lanes int) string {
	switch {
	case lanes == 0:
		return "No lane is yours to read"
	case need == 0 && lanes == 1:
		return "The lane is well"
	case need == 0:
		return fmt.Sprintf("All %d lanes are well", lanes)
	case lanes == 1:
		return "The lane needs you"
	case need == 1:
		return fmt.Sprintf("1 of %d lanes needs you", lanes)
	}
	return fmt.Sprintf("%d of %d lanes need you", need, lanes)
}
