package monitor

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An overviewView is the page of the lanes.
type overviewView struct {
	frame
	Head  string
	Cards []card
}

// A card is a lane in the overview.
type card struct {
	Name, Link                  string
	Word                        word
	Says                        sentence
	Spark                       chart
	Pending, Oldest, Dead, Pace string
}

func (q *request) readOverview() error {
	if q.json {
		q.writeJSON(http.StatusOK, q.m.overview(q.now, q.access))
		return nil
	}
	q.writePage(http.StatusOK, "overview", q.overviewView())
	return nil
}

func (q *request) overviewView() overviewView {
	o := q.m.overview(q.now, q.access)
	v := overviewView{}
	need := 0
	for i := range o.Lanes {
		d := &o.Lanes[i]
		if needsYou(d) {
			need++
		}
		v.Cards = append(v.Cards, card{Name: visible(d.Name), Link: link("lane", d.Name), Word: d.word(), Says: sentenceOf(d, q.now),
			Spark: newChart(d, 188, 4, q.now), Pending: count(d.Pending), Oldest: oldest(d, q.now), Dead: count(d.Dead), Pace: pace(d)})
	}
	v.Head = headline(need, len(o.Lanes))
	v.frame = q.frame(v.Head)
	v.Live = link("live", "1")
	v.File = fileText(o.File, len(o.Lanes))
	return v
}

// oldest is how long the oldest event waits, in one unit.
func oldest(d *summary, now time.Time) string {
	if d.Oldest.IsZero() {
		return "–"
	}
	return short(now.Sub(d.Oldest))
}

// pace is the requests a second, now and as allowed.
func pace(d *summary) string {
	if allowed := cmp.Or(d.Limit, d.Rate); allowed > 0 {
		return perSecond(d.Requests) + " / " + perSecond(allowed)
	}
	return perSecond(d.Requests)
}

// A laneView is the page of one lane.
type laneView struct {
	laneParts
	Notice *notice
	List   listView
}

// laneParts are what is renewed of it.
type laneParts struct {
	frame
	Lane    string // as it is, for forms
	Name    string
	Word    word
	Banner  banner
	Acts    acts
	Pending string
	Size    string
	Mix     []bar
	MixText string
	Counts  []countLink
	Chart   chart
	Errors  []errorRow
	Facts   []fact
	Ages    []ageRow
	Sample  string
}

// A fact is a line of a list of facts.
type fact struct {
	Name, Value, Small string
	Mono               bool
	Link               string
}

type bar struct{ Class, X, W string }

type countLink struct {
	Text, Link, Class, N string
	Current              bool
}

type errorRow struct {
	Error, Times, ID, Link string
	Last                   moment
}

type ageRow struct{ Put, Share, W string }

func (q *request) readLane() error {
	list := q.query.Get("list")
	if q.json && list == "" {
		d := q.m.detail(q.lane, q.may, q.now)
		d.Ages = sampleAges(q.Context(), q.lane, d.Ready+d.InLine, q.now)
		q.writeJSON(http.StatusOK, d)
		return nil
	}
	f, err := filterOf(q.query, list)
	if err != nil {
		return err
	}
	if f.State == "" {
		f.State = q.firstList()
	}
	l, err := q.lane.list(q.Context(), &f)
	if q.json {
		if err != nil {
			return err
		}
		q.writeJSON(http.StatusOK, l)
		return nil
	}
	if err != nil && refusalOf(err).code == "bad_request" && f.After != "" {
		return err
	}
	v := laneView{laneParts: q.laneRegions(&f)}
	v.List = q.listView(&f, &l)
	if err != nil {
		v.List.Failed = visible(refusalOf(err).text)
	}
	v.Notice = q.notice(&f)
	q.ages(&v.laneParts)
	q.writePage(http.StatusOK, "lane", v)
	return nil
}

// firstList is the list that a page shows when none was asked for: the one that most likely
// matters.
func (q *request) firstList() sender.State {
	s := q.lane.Stats()
	switch {
	case s.Dead > 0:
		return sender.StateDead
	case s.Retrying > 0:
		return sender.StateRetrying
	case s.Ready == 0 && s.Scheduled > 0:
		return sender.StateScheduled
	}
	return sender.StateReady
}

// laneRegions makes the parts of the page of a lane; f is the list that is shown, nil: no matter.
func (q *request) laneRegions(f *filter) laneParts {
	d := q.m.detail(q.lane, q.may, q.now)
	name := visible(q.lane.name)
	v := laneParts{Lane: q.lane.name, Name: name, Word: d.word(), Banner: bannerOf(&d.summary, q.now), Acts: q.acts(&d.summary)}
	v.frame = q.frame(v.Word.Text+" · "+name, crumb{name, ""})
	v.Live = link("live", "1", "lane", q.lane.name, "list", q.query.Get("list"))
	v.File = fileText(d.File, len(q.m.lanes))
	v.Pending = count(d.Pending)
	v.Size = size(d.Bytes)
	if d.Dead > 0 {
		v.Size += ", and " + count(d.Dead) + " dead"
	}
	v.mix(&d.summary)
	current := sender.State(q.query.Get("list"))
	if f != nil {
		current = f.State
	} else if current == "" {
		current = q.firstList()
	}
	for i, s := range states {
		v.Counts = append(v.Counts, countLink{stateWords[s].Text, link("lane", q.lane.name, "list", string(s)) + "#list", "k" + strconv.Itoa(i+1), count(countOf(&d.stats, s)), s == current})
	}
	v.Chart = newChart(&d.summary, 360, 1, q.now)
	v.Chart.table(&d.past, q.now)
	for _, g := range d.Errors {
		times := "once"
		if g.Count > 1 {
			times = count(g.Count) + " times"
		}
		v.Errors = append(v.Errors, errorRow{visible(g.Error), times, brief(g.ID), itemLink(q.lane.name, g.ID, g.At), at(g.Last, q.now)})
	}
	v.Facts = facts(&d.summary, q.now)
	return v
}

// mix draws the shares of what is pending; none that is there is too narrow to be seen.
func (v *laneParts) mix(d *summary) {
	x := 0.0
	var parts []string
	for i, s := range states[:5] {
		n := countOf(&d.stats, s)
		if n == 0 || d.Pending == 0 {
			continue
		}
		w := max(0.4, 100*float64(n)/float64(d.Pending))
		v.Mix = append(v.Mix, bar{"k" + strconv.Itoa(i+1), fmt.Sprintf("%.2f%%", min(x, 99.6)), fmt.Sprintf("%.2f%%", max(0.3, w-0.2))})
		parts = append(parts, count(n)+" "+strings.ToLower(stateWords[s].Text))
		x += w
	}
	v.MixText = "Of " + count(d.Pending) + " pending: " + strings.Join(parts, ", ")
	if len(parts) == 0 {
		v.MixText = "Nothing is pending"
	}
}

// facts answers how long things take.
func facts(d *summary, now time.Time) []fact {
	oldest := fact{Name: "Oldest", Value: "–", Small: "nothing waits"}
	if !d.Oldest.IsZero() {
		oldest.Value, oldest.Small = span(now.Sub(d.Oldest)), "put at "+clock(d.Oldest, now)
	}
	left := fact{Name: "Time left", Value: "cannot tell", Small: d.left.why}
	if d.left.known {
		left.Value = span(d.left.span)
		if d.left.span == 0 {
			left.Value = "none"
		} else if d.left.span < time.Second {
			left.Value = "below 1 s"
		}
	}
	put := fact{Name: "Put, lately", Value: "not known yet", Small: "known some seconds after the first look"}
	if p := &d.past; p.putFor > 0 {
		put = fact{Name: "Put, last " + span(p.putFor.Truncate(time.Second)), Value: count(p.put), Small: perSecond(float64(p.put)/p.putFor.Seconds()) + " a second"}
		if p.putFor >= 55*time.Second && p.putFor < 66*time.Second {
			put.Name = "Put, last minute"
		}
	}
	fs := []fact{oldest, left, put,
		{Name: "Delivered", Value: count(d.Ledger.Delivered), Small: fmt.Sprintf("of %s ever put; expired %s, dropped %s", count(d.Ledger.Put), count(d.Ledger.Expired), count(d.Ledger.Dropped))}}
	if d.LimiterMode != "" {
		fs = append(fs, fact{Name: "Limiter", Value: visible(cut(d.LimiterMode, 40)), Small: "allows " + perSecond(d.Rate) + " a second now"})
	}
	if d.Concurrency > 0 {
		fs = append(fs, fact{Name: "Concurrency", Value: fmt.Sprintf("%s in flight, %d at once", count(d.InFlight), d.Concurrency), Small: fmt.Sprintf("%d abandoned", d.Abandoned)})
	}
	return fs
}

// ages adds the ages of a sample.
func (q *request) ages(v *laneParts) {
	s := q.lane.Stats()
	if s.Ready+s.InLine == 0 {
		return
	}
	a := sampleAges(q.Context(), q.lane, s.Ready+s.InLine, q.now)
	if a == nil {
		return
	}
	v.Sample = "all " + count(a.Sample)
	if a.Sample < a.Of {
		v.Sample = "sample of " + count(a.Sample)
	}
	before := ""
	for _, b := range a.Buckets {
		row := ageRow{Share: fmt.Sprintf("%.0f %%", 100*b.Share), W: fmt.Sprintf("%.1f%%", 100*b.Share)}
		up := short(time.Duration(b.UpTo * float64(time.Second)))
		switch {
		case b.UpTo == 0:
			row.Put = "older"
		case before == "":
			row.Put = "last " + up
		default:
			row.Put = strings.Fields(before)[0] + " to " + up
			if strings.Fields(before)[1] != strings.Fields(up)[1] {
				row.Put = before + " to " + up
			}
		}
		before = up
		v.Ages = append(v.Ages, row)
	}
}

// A listView is a list on the page of a lane.
type listView struct {
	Text   string // "Dead"
	State  string
	Small  string
	Said   string
	Filter filter
	Key    string // of the filter, as it can be shown
	Kind   string
	ID     string
	Rows   []row
	When   string // what the last column is
	Next   string
	Turn   string // the same list from the other end
	Newest bool
	Export string // "": not allowed
	Choose bool   // there is something to do with those chosen
	Revive bool
	Run    bool
	Many   string // "Revive all 7…", "" if there are none
	Empty  string
	Failed string // why it could not be read
}

// A row is an event in a list.
type row struct {
	Value, ID, Link, Kind, Key, Why, Tries, Label string
	When                                          moment
}

func (q *request) listView(f *filter, l *listing) listView {
	w := stateWords[f.State]
	v := listView{Text: w.Text, State: string(f.State), Small: events(l.Of), Said: l.said(f), Filter: *f, Key: visible(f.Key), Kind: visible(f.Kind), ID: visible(f.ID), Newest: f.Newest, When: "Put"}
	if s := q.lane.Stats(); f.State == sender.StateReady && s.InLine+s.InFlight > 0 {
		v.Small += ", with those in line and in flight"
	}
	may := q.may.Act
	v.Choose, v.Revive = may && len(l.Items) > 0, may && f.State == sender.StateDead
	v.Run = may && (f.State == sender.StateRetrying || f.State == sender.StateScheduled)
	switch f.State {
	case sender.StateDead:
		v.When = "Died"
	case sender.StateRetrying, sender.StateScheduled:
		v.When = "Due"
	}
	for i := range l.Items {
		e := &l.Items[i]
		r := row{Value: e.value(), ID: brief(e.ID), Link: itemLink(q.lane.name, e.ID, e.At), Kind: visible(e.Kind), Key: visible(e.Key), Why: visible(e.LastErr),
			Tries: count(e.Failures), When: at(e.Created, q.now)}
		switch {
		case e.Damage != "":
			r.Why = "cannot be read: " + visible(e.Damage)
		case f.State == sender.StateDead:
			r.When = at(e.Failed, q.now)
		case v.When == "Due":
			r.When = at(e.Due, q.now)
		}
		if e.State != f.State {
			r.Label = stateWords[e.State].Text
		}
		v.Rows = append(v.Rows, r)
	}
	if l.Next != "" {
		v.Next = link(f.query(q.lane.name, l.Next)...) + "#list"
	}
	turned := *f
	turned.Newest = !f.Newest
	v.Turn = link(turned.query(q.lane.name, "")...) + "#list"
	if q.may.Payload {
		v.Export = link("lane", q.lane.name, "export", string(f.State), "key", f.Key, "kind", f.Kind, "id", f.ID)
	}
	if v.Revive && len(l.Items) > 1 {
		v.Many = "Revive all…"
		if f.narrow() {
			v.Many = "Revive all that match…"
		}
	}
	switch {
	case f.narrow() && len(l.Items) == 0 && l.Next != "":
		v.Empty = "None of those looked at matches. Go on, or search for less."
	case f.narrow() && len(l.Items) == 0:
		v.Empty = "No event matches."
	case len(l.Items) == 0:
		v.Empty = "No event is " + strings.ToLower(w.Text) + "."
	}
	return v
}

// A notice says what an action did.
type notice struct {
	Class, Icon, Text string
	Do, List          string // how to go on with the rest; "" : nothing is left
	Fields            []field
}

// notice reads what an action has put into the query.
func (q *request) notice(f *filter) *notice {
	v, known := verbs[q.query.Get("did")]
	if !known {
		return nil
	}
	n, _ := strconv.Atoi(q.query.Get("n"))
	over, _ := strconv.Atoi(q.query.Get("over"))
	t := notice{Class: "ok", Icon: "check"}
	switch do := q.query.Get("did"); {
	case do == "clear-throttle":
		t.Text = "The throttle is cleared. One request goes first."
	case v.events:
		t.Text = capital(wereOrWas(n) + v.done + ".")
		if do == "edit" && q.query.Get("revive") != "" {
			t.Text = "The event was edited and revived."
		}
	default:
		t.Text = "The lane is " + v.done + "."
		if do == "compact" {
			t.Text = "The file is compacted."
		}
	}
	if over > 0 {
		t.Text += fmt.Sprintf(" %spassed over: no longer there, or not in that state.", wereOrWas(over))
		if n == 0 {
			t.Class, t.Icon = "warn", "clock"
		}
	}
	if more := q.query.Get("more"); more != "" && q.may.Act && (q.query.Get("did") == "revive" || q.query.Get("did") == "run-now" || q.query.Get("did") == "drop") {
		t.Do = "Go on with the rest…"
		t.Fields = []field{{"do", q.query.Get("did")}, {"all", "1"}, {"list", string(f.State)}, {"key", f.Key}, {"kind", f.Kind}, {"id", f.ID}, {"after", more}}
	}
	return &t
}

func wereOrWas(n int) string {
	if n == 1 {
		return "1 event was "
	}
	return events(n) + " were "
}
