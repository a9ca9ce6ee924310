package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a step of a test may take, on a machine that is busy with other tests.
const patience = time.Minute

var (
	browser context.Context // nil: there is none
	why     error           // why there is none
	axe     string          // the rules of accessibility
)

func TestMain(m *testing.M) {
	code := 1
	stop, err := start()
	if err == nil || os.Getenv("OUTBOX_BROWSER") == "" {
		why = err
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	stop()
	os.Exit(code)
}

// start starts the browser with a fresh profile.
func start() (stop func(), err error) {
	stop = func() {}
	source, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		return stop, err
	}
	axe = string(source)
	path, err := exec.LookPath("chromium")
	if err != nil {
		return stop, err
	}
	profile, err := os.MkdirTemp("", "profile")
	if err != nil {
		return stop, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	// No timeout: the browser would end with it.
	ctx, _ := chromedp.NewContext(allocator)
	stop = func() {
		chromedp.Cancel(ctx) // waits for the browser
		end()
		os.RemoveAll(profile)
	}
	if err := chromedp.Do(ctx); err != nil {
		return stop, err
	}
	browser = ctx
	return stop, nil
}

// A tab is a page in the browser, with storage of its own. What is wrong with a step ends the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	violations []string // of the policy of the content
}

// newTab opens a tab. At its end nothing may have violated the policy of the pages.
func newTab(t *testing.T, script bool) *tab {
	t.Helper()
	p := newRawTab(t)
	if !script {
		_, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		p.check("switch scripts off", err)
	}
	t.Cleanup(func() {
		if v := p.violated(); len(v) > 0 {
			t.Errorf("the policy of the content was violated: %s", v)
		}
	})
	return p
}

func newRawTab(t *testing.T) *tab {
	t.Helper()
	if browser == nil {
		t.Skip(why)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	p.check("open a tab", chromedp.Do(ctx))
	p.check("listen", chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*audits.EventIssueAdded); ok && e.Issue.Details != nil && e.Issue.Details.ContentSecurityPolicyIssueDetails != nil {
			d := e.Issue.Details.ContentSecurityPolicyIssueDetails
			p.mu.Lock()
			p.violations = append(p.violations, fmt.Sprint(d.ViolatedDirective, " ", d.BlockedURL))
			p.mu.Unlock()
		}
	}))
	_, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{})
	p.check("listen", err)
	p.view(1440, "light")
	return p
}

func (p *tab) check(step string, err error) {
	p.t.Helper()
	if err == nil {
		return
	}
	at, _ := chromedp.Run(p.ctx, chromedp.Location())
	if errors.Is(err, context.DeadlineExceeded) {
		if text, e := evaluate[string](p, `document.body.innerText`); e == nil {
			err = fmt.Errorf("%w; the page says:\n%s", err, text)
		}
	}
	p.t.Fatalf("%s, at %s: %v", step, at, err)
}

// violated returns the violations so far. What the page has done is counted, because the browser
// tells it before it answers.
func (p *tab) violated() []string {
	chromedp.Run(p.ctx, chromedp.Location())
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.violations
}

// view sets width and colours.
func (p *tab) view(width int64, scheme string) {
	p.t.Helper()
	height := int64(900)
	if width < 500 {
		height = 740
	}
	p.check("set the width", chromedp.Do(p.ctx, chromedp.EmulateViewport(width, height)))
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	p.check("set the colours", err)
}

// to loads a page and returns its status.
func (p *tab) to(url string) int64 {
	p.t.Helper()
	return p.load("load "+url, chromedp.Navigate(url))
}

// load waits for the page that steps lead to.
func (p *tab) load(what string, steps ...chromedp.Action[chromedp.Void]) int64 {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	r, err := chromedp.RunResponse(ctx, steps...)
	p.check(what, err)
	return r.Status
}

// follow presses the link or button with that text, and waits for the page that comes.
func (p *tab) follow(text string) int64 {
	p.t.Helper()
	return p.load("follow "+text, chromedp.Click(named(text), chromedp.NodeVisible))
}

// press presses what has that text.
func (p *tab) press(text string) {
	p.t.Helper()
	p.do("press "+text, chromedp.Click(named(text), chromedp.NodeVisible))
}

func (p *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	p.check(what, chromedp.Do(ctx, steps...))
}

// named selects a link, a button or a summary by its text, or a link that begins with it.
func named(text string) string {
	return fmt.Sprintf(`(//main//*[self::a or self::button or self::summary][normalize-space(.)=%[1]q]|//main//a[starts-with(normalize-space(.),%[1]q)]|//nav//a[normalize-space(.)=%[1]q])[1]`, text)
}

// text is what can be read on the page, its spaces as one.
func (p *tab) text() string {
	p.t.Helper()
	s, err := evaluate[string](p, `document.body.innerText`)
	p.check("read", err)
	return strings.Join(strings.Fields(s), " ")
}

// reads fails unless each text can be read on the page.
func (p *tab) reads(texts ...string) {
	p.t.Helper()
	page := p.text()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			p.t.Errorf("cannot read %q on the page: %s", text, page)
		}
	}
	if p.t.Failed() {
		p.keep("failed")
		p.t.FailNow()
	}
}

// comes waits until a text can be read, without loading the page again.
func (p *tab) comes(text string) {
	p.t.Helper()
	_, err := evaluate[bool](p, fmt.Sprintf(`new Promise(done => {
		const look = () => { if (document.body.innerText.replace(/\s+/g, " ").includes(%q)) done(true); };
		new MutationObserver(look).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
		look();
	})`, text))
	p.check("wait for "+text, err)
}

// eval returns what an expression is, or what its promise becomes.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := evaluate[T](p, expression)
	p.check("evaluate", err)
	return v
}

func evaluate[T any](p *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, func(e *runtime.EvaluateParams) {
		yes := true
		e.AwaitPromise = &yes
	}))
}

// keep takes a screenshot of the whole page.
func (p *tab) keep(name string) {
	p.t.Helper()
	dir := os.Getenv("OUTBOX_SHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Errorf("screenshot: %v", err)
		return
	}
	name = strings.NewReplacer("/", "-", " ", "-").Replace(p.t.Name() + "-" + name)
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		p.t.Error(err)
	}
}
