package monitor

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// An itemView is the page of one event.
type itemView struct {
	frame
	Lane, LaneName string
	Head           string
	Word           word
	Dead           bool
	Why            string // of a dead one
	Says           string
	Gates          []gate
	Life           []milestone
	Facts          []fact
	Headers        []fact // with values; only with the right
	Size           string
	Payload        string // only with the right
	Hidden         bool
	Cut            bool
	Value          string // names the event in forms
	State          string
	Act            bool
	Run            bool
	Unknown        bool   // it may have arrived
	Editable       bool   // as text, if the reader may act
	Moved          string // what has become of it since the page was made; "": nothing that matters
	MovedTo        string // the page as it is now; "": there is none
	Text           string // of the payload, to be edited
	Was            string // names the contents that are edited
}

// A gate is something that has to open before the event goes.
type gate struct {
	Class, Icon, Head, Text, Code string
	After                         string // after Code
	HeadID, HeadLink              string
	Link                          string // to what to do
}

// milestone is a line of the history.
type milestone struct {
	Class, Head, Code string
	At                moment
}

var gateHeads = map[string]string{
	"scheduled": "Its time has not come", "retrying": "It failed, and waits for its next try", "in-line": "Behind an earlier event of its key",
	"in-flight": "It is on its way", "behind": "Others go before it", "throttled": "The destination asked for a pause", "paused": "The lane is paused",
	"held": "The lane is held", "storing": "There is no transport", "closed": "The outbox is closed", "dead": "It is dead", "damaged": "It cannot be read", "expired": "It has expired",
}

var gateIcons = map[string]string{"scheduled": "clock", "retrying": "clock", "in-line": "lines", "in-flight": "arrow", "behind": "lines", "throttled": "clock", "paused": "pause"}

// itemView is the whole page.
func (q *request) itemView(e *outbox.Explanation) itemView {
	v := q.itemParts(e)
	if it := &e.Item; q.may.Payload && it.Err == nil {
		v.payload(q, it)
	}
	if f := fileTextOf(q); f != "" {
		v.File = f
	}
	if q.Method == http.MethodGet {
		wasDead := ""
		if v.Dead {
			wasDead = "1"
		}
		v.Live = link("live", "1", "lane", q.lane.name, "item", e.Item.ID.String(), "at", strconv.FormatUint(e.Item.Seq, 10), "dead", wasDead)
	}
	return v
}

// itemParts makes all but the payload.
func (q *request) itemParts(e *outbox.Explanation) itemView {
	it := &e.Item
	name, id := visible(q.lane.name), it.ID.String()
	w := stateWords[it.State]
	v := itemView{Lane: q.lane.name, LaneName: name, Word: w, Dead: it.State == sender.StateDead, Act: q.may.Act, State: string(it.State),
		Size: events(1), Hidden: !q.may.Payload, Unknown: it.State == sender.StateDead && answerUnknown(it.LastErr)}
	one := entryOf(it)
	v.Value = one.value()
	v.Head = "An event without a kind"
	if it.Kind != "" {
		v.Head = visible(it.Kind)
	}
	if it.Key != "" {
		v.Head += " for " + visible(it.Key)
	}
	if it.Err != nil {
		v.Head, v.Hidden = "An event that cannot be read", true
	}
	v.frame = q.frame(w.Text+" · "+v.Head+" · "+name, crumb{name, link("lane", q.lane.name, "list", string(it.State))}, crumb{brief(id), ""})
	v.Size = "no bytes"
	if n := len(it.Payload); n > 0 {
		v.Size = size(int64(n))
	}
	v.Run = v.Act && (it.State == sender.StateRetrying || it.State == sender.StateScheduled)
	v.gates(q, e)
	v.life(it, q.now)
	v.facts(it, q.now)
	return v
}

func fileTextOf(q *request) string {
	s := q.lane.Stats()
	f := q.lane.file(&s)
	return fileText(&f, len(q.m.lanes))
}

// gates explains why an event waits; of a dead one, why it is dead.
func (v *itemView) gates(q *request, e *outbox.Explanation) {
	it := &e.Item
	if v.Dead {
		v.Why, v.Says = visible(it.LastErr), "Given up"
		switch {
		case it.Err != nil:
			v.Says, v.Why = "It cannot be read", visible(it.Err.Error())
		case v.Unknown:
			v.Says = "It was sent, and nobody knows the answer"
		case it.Attempts > 1:
			v.Says = fmt.Sprintf("It failed %s times, and was given up", count(it.Attempts))
		default:
			v.Says = "The destination refuses it for good"
		}
		return
	}
	codes := make(map[string]bool)
	for _, r := range e.Reasons {
		codes[string(r.Code)] = true
	}
	if !codes["scheduled"] && !codes["retrying"] && !codes["damaged"] {
		text := "It was put without a date."
		if !it.Due.IsZero() {
			text = "It was due at " + clock(it.Due, q.now) + "."
		}
		v.Gates = append(v.Gates, gate{Class: "open", Icon: "check", Head: "Its time has come", Text: text})
	}
	s := q.lane.Stats()
	for _, r := range e.Reasons {
		code := string(r.Code)
		if code == "behind" {
			continue // the last gate says it
		}
		g := gate{Class: "shut", Icon: gateIcons[code], Head: gateHeads[code], Text: visible(r.Text), Code: visible(r.Cause)}
		if g.Icon == "" {
			g.Icon = "stop"
		}
		if g.Head == "" {
			g.Head = code
		}
		if code == "in-flight" {
			g.Class = "open"
		}
		switch {
		case code == "held" && s.Held != "":
			c := causeOf(s.HeldBy, s.HeldErr)
			g.Text, g.Code = capital(c.What)+", ", heldText(&s)
			if g.After = ". "; !s.HeldSince.IsZero() {
				g.After = ", since " + clock(s.HeldSince, q.now) + ". "
			}
			if s.Probe.After(q.now) {
				g.After += "One request tests it next " + at(s.Probe, q.now).Ago + ". "
			}
			g.Link = link("lane", q.lane.name)
		case code == "paused":
			g.Text = "Paused" + pauseText(s.OperatorPause, q.now)
		case code == "throttled" && !s.PausedUntil.IsZero():
			g.Text = "Nothing is sent until " + clock(s.PausedUntil, q.now) + ", " + at(s.PausedUntil, q.now).Ago + "."
		case code == "in-line" && r.Head != nil:
			g.Text, g.Code = "Events of one key go one at a time.", visible(r.Head.LastErr)
		case (code == "scheduled" || code == "retrying") && !r.Until.IsZero():
			g.Text = "It is due at " + clock(r.Until, q.now) + ", " + at(r.Until, q.now).Ago + "."
			if !r.Until.After(q.now) {
				g.Text = "It was due at " + clock(r.Until, q.now) + ", and has its turn as soon as the lane sends."
			}
		}
		if g.Code != "" && strings.Contains(g.Text, g.Code) {
			g.Code = ""
		}
		if r.Head != nil {
			g.HeadID, g.HeadLink = brief(r.Head.ID.String()), itemLink(q.lane.name, r.Head.ID.String(), r.Head.Seq)
		}
		v.Gates = append(v.Gates, g)
	}
	last := gate{Class: "dim", Icon: "clock", Head: "Then: its share of the rate", Text: "It is next."}
	if e.Ahead > 0 {
		last.Text = "At most " + events(e.Ahead) + " go before it."
		if e.Ahead == 1 {
			last.Text = "At most 1 event goes before it."
		}
	}
	if e.About.After(q.now) {
		last.Text += " At the present pace it goes at about " + clock(e.About, q.now) + ", " + at(e.About, q.now).Ago + "."
	} else if rate := cmp.Or(s.Limit, s.Rate); rate > 0 && float64(e.Ahead) >= rate {
		last.Text += " At " + perSecond(rate) + " a second that takes " + span(seconds(float64(e.Ahead)/rate).Round(time.Second)) + ", once the lane opens."
	}
	if !codes["in-flight"] && !codes["expired"] {
		v.Gates = append(v.Gates, last)
	}
}

// life is what happened to an event.
func (v *itemView) life(it *sender.Listed, now time.Time) {
	if it.Err != nil {
		return
	}
	v.Life = append(v.Life, milestone{"o", "Put", "", at(it.Created, now)})
	if n := it.Failures - len(it.History); n > 0 {
		v.Life = append(v.Life, milestone{"", "Failed " + count(n) + " times before, of which no more is kept", "", moment{}})
	}
	for i, f := range it.History {
		s := milestone{"f", "Failed", visible(f.Reason), at(f.At, now)}
		if v.Dead && i == len(it.History)-1 && f.At.Equal(it.FailedAt) {
			s.Head = "Dead"
		}
		v.Life = append(v.Life, s)
	}
	if n := len(v.Life); v.Dead && v.Life[n-1].Head != "Dead" {
		v.Life = append(v.Life, milestone{"f", "Dead", v.Why, at(it.FailedAt, now)})
	}
	if it.Failures == 0 && !v.Dead && it.State != sender.StateInFlight {
		v.Life = append(v.Life, milestone{"", "Never tried", "", moment{}})
	}
}

func (v *itemView) facts(it *sender.Listed, now time.Time) {
	expires := "never"
	if !it.Expires.IsZero() {
		expires = clock(it.Expires, now)
	}
	v.Facts = []fact{{Name: "ID", Value: it.ID.String(), Mono: true}, {Name: "Place", Value: count(it.Seq)}}
	if it.Err != nil {
		return
	}
	v.Facts = append(v.Facts, fact{Name: "Kind", Value: or(visible(it.Kind), "none")}, fact{Name: "Key", Value: or(visible(it.Key), "none")},
		fact{Name: "Put", Value: clock(it.Created, now), Small: at(it.Created, now).Ago})
	if !it.Due.IsZero() && !v.Dead {
		v.Facts = append(v.Facts, fact{Name: "Due", Value: clock(it.Due, now), Small: at(it.Due, now).Ago})
	}
	tries := fact{Name: "Tries charged", Value: count(it.Attempts)}
	if it.Failures > it.Attempts {
		tries.Small = "of " + count(it.Failures) + " that failed"
	}
	v.Facts = append(v.Facts, tries, fact{Name: "Expires", Value: expires})
	var names []string
	for _, n := range slices.Sorted(maps.Keys(it.Header)) {
		names = append(names, visible(n))
	}
	v.Facts = append(v.Facts, fact{Name: "Headers", Value: or(strings.Join(names, ", "), "none")})
}

// payload shows what is in an event.
func (v *itemView) payload(q *request, it *sender.Listed) {
	show := func(it sender.Item) string { return readable(it.Payload) }
	if q.m.options.Payload != nil {
		show = q.m.options.Payload
	}
	text := escape(show(it.Item), "\n\t")
	v.Payload = cut(text, maxShown)
	v.Cut = len(v.Payload) < len(text) || q.m.options.Payload == nil && !isText(it.Payload) && len(it.Payload) > maxShown/4
	for _, n := range slices.Sorted(maps.Keys(it.Header)) {
		v.Headers = append(v.Headers, fact{Name: visible(n), Value: visible(it.Header[n]), Mono: true})
	}
	plain := string(it.Payload)
	sameEnds := !strings.Contains(plain, "\r") || !strings.Contains(strings.ReplaceAll(plain, "\r\n", ""), "\r") && !strings.Contains(strings.ReplaceAll(plain, "\r\n", ""), "\n")
	v.Editable = v.Act && v.Dead && len(plain) <= maxShown && isText(it.Payload) && sameEnds && escape(plain, "\r\n\t") == plain
	if v.Editable {
		v.Text, v.Was = plain, contentsOf(&it.Item)
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
