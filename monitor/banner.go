package monitor

import (
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A banner says how a lane is, why, since when, and what to do.
type banner struct {
	Head  string
	Code  string // the cause, as it was said
	Since moment
	Text  string // after since
	Do    string // an order; "": there is nothing to do
	Then  string // after Do
	Also  []string
}

func bannerOf(d *summary, now time.Time) banner {
	s := &d.stats
	b := banner{}
	switch d.State {
	case sender.LaneHeld:
		b.held(d, now)
	case sender.LaneThrottled:
		b.Head = "Throttled: the destination asked for a pause"
		b.Text = fmt.Sprintf("Until %s, %s. Then the lane goes on by itself, at a lower rate that climbs back. There is nothing to do.", clock(s.PausedUntil, now), at(s.PausedUntil, now).Ago)
	case sender.LanePaused:
		b.Head = "Paused by its operator"
		if s.OperatorPause.By != "" {
			b.Head = "Paused by " + visible(s.OperatorPause.By)
		}
		if s.OperatorPause.Reason != "" {
			b.Head += ": " + visible(s.OperatorPause.Reason)
		}
		b.Since = at(s.OperatorPause.Since, now)
		b.Text = "It goes on when somebody resumes it."
		if !s.OperatorPause.Until.IsZero() {
			b.Text = fmt.Sprintf("It goes on by itself at %s, %s.", clock(s.OperatorPause.Until, now), at(s.OperatorPause.Until, now).Ago)
		}
		b.Text += " Events are stored meanwhile, and nothing is sent."
	case sender.LaneClosed:
		b.Head, b.Text = "Closed", "The outbox of this lane is closed. What is pending stays on disk, and is sent after the next start."
	case sender.LaneStoring:
		b.Head, b.Text = "Storing: there is no transport", "Events are stored, and nothing is sent until the program opens the lane with a transport."
	case sender.LaneWaiting:
		b.waiting(d, now)
	case sender.LaneIdle:
		b.Head, b.Text = "Idle: nothing is pending", "Everything that was put has been delivered, has expired, or is dead."
	default:
		b.sending(d, now)
	}
	b.also(d, now)
	return b
}

func (b *banner) held(d *summary, now time.Time) {
	s := &d.stats
	c := causeOf(s.HeldBy, s.HeldErr)
	b.Head, b.Code, b.Since, b.Do, b.Then = "Held: "+c.What, heldText(s), at(s.HeldSince, now), c.Do, "; "+c.Then+"."
	switch {
	case s.HeldBy == sender.HeldByDestination && s.Probe.After(now):
		b.Text = "One request tests it next " + at(s.Probe, now).Ago + ". "
	case s.HeldBy == sender.HeldByDestination && d.Ready+d.Retrying+d.InFlight > 0:
		b.Text = "One request tests it now. "
	}
	b.Text += "Nothing is lost or given up while a lane is held."
}

func (b *banner) waiting(d *summary, now time.Time) {
	b.Head = "Waiting: nothing is due now"
	b.Text = fmt.Sprintf("%s for the next try, %s for their time.", waits(d.Retrying), waits(d.Scheduled))
	if d.failing() {
		latest := &d.past.errors[0]
		b.Head, b.Code = "Waiting: "+d.tries(), visible(latest.Error)
		b.Text = "The latest was " + at(latest.Last, now).Ago + ", and nothing was delivered since the first of them. " + b.Text
		b.Do, b.Then = "Look at the last errors and at the destination", "; the events are tried again by themselves."
	}
}

func (b *banner) sending(d *summary, now time.Time) {
	b.Head = "Sending: it keeps up"
	b.Text = "Nothing waits for longer than a minute."
	if age := now.Sub(d.Oldest); !d.Oldest.IsZero() && age >= time.Minute {
		b.Head = "Sending: it works on a backlog"
		b.Text = "The oldest event waits for " + span(age) + "."
		if d.left.known {
			b.Text += " What may be sent takes " + span(d.left.span) + ", " + d.left.why + "."
		}
	} else if !d.Oldest.IsZero() && age < time.Second {
		b.Text = "Nothing waits for longer than a second."
	}
	if d.Limit > 0 && d.Rate < d.Limit {
		b.Text += fmt.Sprintf(" The rate is %s of %s a second: the destination asked for less, and it climbs back.", perSecond(d.Rate), perSecond(d.Limit))
	}
}

// also tells what is hidden behind the word.
func (b *banner) also(d *summary, now time.Time) {
	s := &d.stats
	if d.State != sender.LaneHeld && s.Held != "" && d.State != sender.LaneClosed {
		b.Also = append(b.Also, "Besides, it is held: "+causeOf(s.HeldBy, s.HeldErr).What+", "+heldText(s)+".")
	}
	if d.State != sender.LaneThrottled && !s.PausedUntil.IsZero() {
		b.Also = append(b.Also, "Besides, the destination asked for a pause until "+clock(s.PausedUntil, now)+".")
	}
	if d.State == sender.LaneHeld && d.Paused != nil {
		b.Also = append(b.Also, "Besides, it is paused"+pauseText(s.OperatorPause, now))
	}
	if d.Abandoned > 0 {
		b.Also = append(b.Also, fmt.Sprintf("%d of %d slots are taken by calls that ignore the end of their context.", d.Abandoned, d.Concurrency))
	}
	if d.Fallback != "" {
		b.Also = append(b.Also, "The file was opened without its newest commit: "+visible(d.Fallback)+".")
	}
}

func waits(n int) string {
	if n == 1 {
		return "1 event waits"
	}
	return count(n) + " events wait"
}

// acts are the actions that a page of a lane offers. What is hidden is refused, too.
type acts struct {
	Pause    bool
	Paused   bool // there is a pause to end or to change
	Resume   bool
	Throttle bool
	Compact  bool
	Until    []option
	Costs    string // of a compaction
}

type option struct{ Value, Text string }

func (q *request) acts(d *summary) acts {
	if !q.may.Act || d.State == sender.LaneClosed {
		return acts{}
	}
	morning := time.Date(q.now.UTC().Year(), q.now.UTC().Month(), q.now.UTC().Day()+1, 8, 0, 0, 0, time.UTC)
	a := acts{Pause: true, Paused: d.Paused != nil, Resume: d.Paused != nil, Throttle: q.may.Payload && d.Throttled != nil, Compact: true,
		Until: []option{{"", "I resume it"}, {"15m", "in 15 minutes"}, {"1h", "in 1 hour"}, {"4h", "in 4 hours"}, {morning.Format(time.RFC3339), "tomorrow, 08:00 UTC"}}}
	took := time.Duration(d.Pending+d.Dead) * 2 * time.Microsecond // 2 s for a million
	a.Costs = fmt.Sprintf("The file has %s. Puts wait for about %s while it is made as small as its contents.", size(d.stats.FileBytes), span(max(took, 100*time.Millisecond).Round(100*time.Millisecond)))
	return a
}

// A pauseView is the form of a pause that was refused, with what was typed and what is wrong.
type pauseView struct {
	laneParts
	Until  string
	Reason string
	Error  string
}

func (q *request) pauseView(a *action, r *refusal) pauseView {
	v := pauseView{laneParts: q.laneRegions(nil), Until: a.fields.Get("until"), Reason: a.Reason, Error: visible(r.text)}
	v.Live = ""
	return v
}

// An askView is the page that asks whether an action is meant.
type askView struct {
	frame
	Head   string
	Text   []string
	Fields []field
	Button string
	Danger bool
	Back   string
}

// askView asks about n events, of which so many may have arrived. more: there are others that
// match.
func (q *request) askView(a *action, n int, more bool, unknown int) *askView {
	name := visible(q.lane.name)
	v := &askView{Fields: a.hidden(), Back: link("lane", q.lane.name, "list", string(a.State))}
	which := events(n)
	switch a.Do {
	case "revive":
		v.Head, v.Button = "Revive "+which+" of "+name+"?", "Revive "+which
		v.Text = []string{"Revived events are sent again under the same ID, behind what is ready now, with their tries at zero."}
	case "drop":
		v.Head, v.Button, v.Danger = "Drop "+which+" of "+name+"?", "Drop "+which, true
		v.Text = []string{"Dropped events are counted as dropped and never sent. One that is in flight may still arrive. This cannot be undone."}
	case "run-now":
		v.Head, v.Button = "Make "+which+" of "+name+" due now?", "Make "+which+" due"
		v.Text = []string{"They are sent as soon as the lane allows, in the order of their keys. That charges nothing."}
	case "edit":
		v.Head, v.Button, v.Danger = "Replace what is in the event?", "Replace the payload", true
		v.Text = []string{"The event keeps its ID, kind and key. The old payload is replaced for good."}
	case "clear-throttle":
		v.Head, v.Button, v.Danger = "Clear the throttle of "+name+"?", "Clear the throttle", true
		v.Text = []string{"The destination asked for this pause. Do this if what it asked for is absurd; that its word is not kept is then your doing. One request goes first."}
	case "compact":
		v.Head, v.Button = "Compact the file?", "Compact the file"
		v.Text = []string{"Puts wait meanwhile: about two seconds for a million events."}
	}
	if unknown > 0 {
		v.Text = append(v.Text, events(unknown)+" of these may have arrived already: sent, answer unknown. Revived, they may arrive twice.")
	}
	if more {
		v.Text = append(v.Text, fmt.Sprintf("These are the first %s that match; you can go on with the rest afterwards.", count(n)))
	}
	if n == 0 && verbs[a.Do].events {
		v.Text = append(v.Text, "No event matches: there is nothing to do.")
	}
	v.frame = q.frame(v.Head, crumb{name, v.Back}, crumb{verbs[a.Do].text, ""})
	return v
}
