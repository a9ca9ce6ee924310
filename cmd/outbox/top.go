package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
)

// topEvery is how often top looks.
const topEvery = time.Second

func (c *command) topVerb() *cobra.Command {
	return &cobra.Command{
		Use: "top TARGET", Short: "Shows the lanes live, in a terminal",
		Long: `Top shows the lanes each second. Keys: j and k or the arrows choose a lane,
enter opens it, h or esc goes back, g and G go to the first and the last, q ends
it.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := split(args, 0)
			if err != nil {
				return err
			}
			if !isTerminal(c.in) || !isTerminal(c.out) {
				return fail(exitUsage, "top needs a terminal; stats does not")
			}
			cl, err := c.open(target)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			t := &top{ctx: ctx, cl: cl, open: c.lane, colours: coloured(c.out)}
			if err := t.look().err; err != nil { // the first time it is an error of the call
				return errors.Join(err, cl.close())
			}
			_, err = tea.NewProgram(t, tea.WithContext(ctx), tea.WithInput(c.in), tea.WithOutput(c.out), tea.WithoutSignalHandler()).Run()
			if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
				err = ctx.Err()
			}
			return err // the client is open at most while a look goes on, and the process ends
		},
	}
}

// A top is what top shows. Its program owns it, except for cl, which belongs to the look that goes
// on: there is one at a time.
type top struct {
	ctx     context.Context
	cl      *client
	colours bool

	seen    seen
	chosen  int    // of the lanes
	open    string // the lane that is shown; "": all
	width   int    // of the screen; 0: not known yet
	height  int    // likewise
	looking bool   // a look goes on
	looks   int    // how many ticks were asked for: an older one counts no more
}

// seen is what one look found.
type seen struct {
	overview overview
	lane     *lane // the open one
	stopped  bool
	err      error
}

// A tick asks for the next look.
type tick int

// look asks the target, and lets go of a stopped file, so that a program can have it.
func (t *top) look() (s seen) {
	if _, s.err = t.cl.get(t.ctx, &s.overview); s.err == nil && t.open != "" {
		s.lane = new(lane)
		_, s.err = t.cl.get(t.ctx, s.lane, "lane", t.open)
	}
	s.stopped = t.cl.stopped
	if err := t.cl.release(); s.err == nil {
		s.err = err
	}
	t.seen = s
	return s
}

func (t *top) Init() tea.Cmd { return t.wait() }

// wait looks again in a while.
func (t *top) wait() tea.Cmd {
	t.looks++
	n := tick(t.looks)
	return tea.Tick(topEvery, func(time.Time) tea.Msg { return n })
}

// begin looks now, unless a look goes on.
func (t *top) begin() tea.Cmd {
	if t.looking {
		return nil
	}
	t.looking = true
	t.looks++
	once := top{ctx: t.ctx, cl: t.cl, open: t.open}
	return func() tea.Msg { return once.look() }
}

func (t *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return t, t.key(msg.String())
	case tick:
		if int(msg) == t.looks {
			return t, t.begin()
		}
	case seen:
		t.looking = false
		if msg.err != nil { // what was seen before stays
			t.seen.err = msg.err
		} else {
			t.seen = msg
		}
		t.chosen = min(t.chosen, max(0, len(t.seen.overview.Lanes)-1))
		if t.open != "" && !t.sees() && msg.err == nil {
			return t, t.begin()
		}
		return t, t.wait()
	}
	return t, nil
}

func (t *top) key(key string) tea.Cmd {
	last := max(0, len(t.seen.overview.Lanes)-1)
	switch key {
	case "q", "Q", "ctrl+c":
		return tea.Quit
	case "h", "left", "esc", "backspace":
		t.open, t.seen.lane = "", nil
	}
	if t.open != "" {
		return nil
	}
	switch key {
	case "j", "down", "ctrl+n":
		t.chosen = min(t.chosen+1, last)
	case "k", "up", "ctrl+p":
		t.chosen = max(t.chosen-1, 0)
	case "g", "home":
		t.chosen = 0
	case "G", "end":
		t.chosen = last
	case "enter", "l", "right":
		if t.chosen <= last && len(t.seen.overview.Lanes) > 0 {
			t.open = t.seen.overview.Lanes[t.chosen].Name
			return t.begin()
		}
	}
	return nil
}

// sees reports whether the open lane was seen.
func (t *top) sees() bool { return t.seen.lane != nil && t.seen.lane.Name == t.open }

func (t *top) View() tea.View {
	v := tea.NewView(t.text())
	v.AltScreen = true
	v.WindowTitle = "outbox top"
	return v
}

// text is what fits on the screen.
func (t *top) text() string {
	var lines []string
	foot := "j k choose   enter open   q end"
	s := &t.seen
	if t.open == "" {
		lines = t.lanes()
	} else {
		foot = "h back   q end"
		lines = []string{"…"}
		if t.sees() {
			lines = t.oneLane(s.lane)
		}
	}
	name := ""
	if s.overview.File != nil {
		name = visible(s.overview.File.Name) + ", " + size(s.overview.File.Bytes) + "   "
	}
	head := "outbox   " + name + s.overview.Now.UTC().Format(time.TimeOnly) + " UTC"
	if s.err != nil {
		head += "   " + t.colour("31", "does not answer: "+visible(s.err.Error()))
	}
	lines = append([]string{head, ""}, lines...)
	if t.height > 2 && len(lines) > t.height-2 {
		lines = lines[:t.height-2]
	}
	return strings.Join(append(lines, "", foot), "\n")
}

// lanes is the table, from the first lane that leaves the chosen one on the screen.
func (t *top) lanes() (lines []string) {
	var table strings.Builder
	writeLanes(&table, &t.seen.overview, t.seen.stopped)
	at := -1
	first := 1
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		mark := "  "
		if strings.HasPrefix(line, strings.Repeat(" ", 12)) {
			lines = append(lines, t.wrap(mark+line, 14)...)
			continue
		}
		if i > 0 {
			if at++; at == t.chosen {
				mark, first = "> ", len(lines)
			}
			line = t.colour(colourOf(t.seen.overview.Lanes[at].State), line)
		}
		lines = append(lines, mark+line)
	}
	if room := t.height - 6; room > 0 && first > room {
		lines = append(lines[:1], lines[1+first-room:]...)
	}
	return lines
}

// oneLane is what there is to know of a lane.
func (t *top) oneLane(l *lane) (lines []string) {
	now := l.Now
	lines = append(lines, t.colour(colourOf(l.State), visible(l.Name)+"  "+l.word(t.seen.stopped)), "")
	for _, said := range l.says(now) {
		lines = append(lines, t.wrap(said, 2)...)
	}
	row := func(name, value string) { lines = append(lines, fmt.Sprintf("%-12s %12s", name, value)) }
	lines = append(lines, "")
	row("pending", count(l.Pending))
	row("  ready", count(l.Ready))
	row("  in line", count(l.InLine))
	row("  in flight", count(l.InFlight))
	row("  retrying", count(l.Retrying))
	row("  scheduled", count(l.Scheduled))
	row("dead", count(l.Dead))
	row("oldest", l.oldest(now))
	row("rate", l.pace())
	row("left", l.left())
	row("put", count(l.Ledger.Put))
	row("delivered", count(l.Ledger.Delivered))
	row("expired", count(l.Ledger.Expired))
	row("dropped", count(l.Ledger.Dropped))
	if len(l.Errors) > 0 {
		lines = append(lines, "", "Errors")
	}
	for _, e := range l.Errors {
		lines = append(lines, t.wrap(fmt.Sprintf("%8s  %s  %s", count(e.Count), clock(e.Last, now), cut(visible(e.Error), 120)), 20)...)
	}
	return lines
}

// wrap breaks a line that is wider than the screen, at spaces if it has them. What follows is
// indented.
func (t *top) wrap(line string, indent int) (lines []string) {
	rest := []rune(line)
	for t.width > 2*indent && len(rest) > t.width {
		n := t.width
		for i := t.width; i > t.width/2; i-- {
			if rest[i] == ' ' {
				n = i
				break
			}
		}
		lines = append(lines, string(rest[:n]))
		rest = []rune(strings.Repeat(" ", indent) + strings.TrimLeft(string(rest[n:]), " "))
	}
	return append(lines, string(rest))
}

// colourOf returns the colour of a state, as a parameter of SGR; "": none.
func colourOf(state string) string {
	switch state {
	case "held", "closed":
		return "31"
	case "throttled":
		return "33"
	case "paused":
		return "36"
	case "sending":
		return "32"
	}
	return ""
}

func (t *top) colour(c, text string) string {
	if !t.colours || c == "" {
		return text
	}
	return "\x1b[" + c + "m" + text + "\x1b[0m"
}
