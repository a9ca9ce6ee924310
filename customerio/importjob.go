package customerio

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/seed8107221f/outbox"
)

// A Job is an import that the service itself runs, from a CSV that it downloads.
type Job struct {
	// Name is shown in the dashboard. Required.
	Name string
	// URL is where the service downloads the CSV, by http or https. The caller hosts the file: the
	// service has no upload. It should not be public for longer than the import takes.
	URL string
	// Type is what the rows are: "people", "event", "object" or "relationship". "" means people.
	Type string
	// Identifier is the column that names the person: "id" or "email". "" means id.
	Identifier string
	// Extra holds other fields that the API documents, such as "object_type_id" or
	// "data_to_process".
	Extra map[string]any
}

// A JobResult is the result of a Job.
type JobResult struct {
	ID    int64  `json:"id"`
	State string `json:"state"` // "imported"; with an error: "failed" or "canceled"
}

const (
	jobNote = "customerio/job"
	jobPoll = 5 * time.Second
)

// jobState is what the file stores about the Job that runs.
type jobState struct {
	ID  int64  `json:"id"`
	Job string `json:"job"` // hash of the Job: its URL may hold a key
}

// ImportJob starts an import over the App API and returns when it has ended. It asks for the state
// every five seconds. A workspace runs one import at a time, so ImportJob waits for an import that
// an earlier call started, also before a restart. If that was the same Job, its result is returned.
// It waits as well while the service answers 409: an import runs that somebody else started. A
// crash between the start and the commit that records it starts the Job again.
//
// Failed questions are repeated until ctx ends. A failed start is repeated only after a 429 or 409.
// When ctx ends, the import goes on, and the next call finds it.
func (c *Client) ImportJob(ctx context.Context, j Job) (JobResult, error) {
	body, err := j.body()
	if err != nil {
		return JobResult{}, err
	}
	if c.o.AppKey == "" {
		return JobResult{}, errNoApp
	}
	select {
	case c.job <- struct{}{}:
	default:
		select {
		case c.job <- struct{}{}:
		case <-ctx.Done():
			return JobResult{}, fmt.Errorf("customerio: import job: another one is running: %w", context.Cause(ctx))
		}
	}
	defer func() { <-c.job }()
	hash := sha256.Sum256(body)
	mine := hex.EncodeToString(hash[:])
	running, err := c.runningJob()
	if err != nil {
		return JobResult{}, err
	}
	if running.ID != 0 {
		result, err := c.endOfJob(ctx, running.ID)
		if running.Job == mine || result.State == "" {
			return result, err
		}
	}
	id, err := c.startJob(ctx, body)
	if err != nil {
		return JobResult{}, err
	}
	note, err := json.Marshal(jobState{ID: id, Job: mine})
	if err == nil {
		err = c.noteJob(ctx, note)
	}
	if err != nil {
		return JobResult{ID: id}, fail(fmt.Sprintf("import job %d has started, and is not noted in the file", id), err)
	}
	return c.endOfJob(ctx, id)
}

func (j *Job) body() ([]byte, error) {
	u, err := url.Parse(j.URL)
	switch {
	case strings.TrimSpace(j.Name) == "":
		return nil, invalid("Name", "is missing or blank")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsFunc(j.URL, unicode.IsSpace):
		return nil, invalid("URL", "has %d bytes and is not an http or https URL", len(j.URL))
	}
	fields := map[string]any{"name": j.Name, "data_file_url": j.URL, "type": "people", "identifier": "id"}
	if j.Type != "" {
		fields["type"] = j.Type
	}
	if j.Identifier != "" {
		fields["identifier"] = j.Identifier
	}
	switch fields["type"] {
	case "people", "event", "relationship":
	case "object":
		if j.Extra["object_type_id"] == nil {
			return nil, invalid("Extra.object_type_id", "is missing, which an import of objects needs")
		}
	default:
		return nil, invalid("Type", "has %d bytes and is none of people, event, object and relationship", len(j.Type))
	}
	for name, value := range j.Extra {
		if fields[name] != nil {
			return nil, invalid("Extra."+name, "is there already, as a field of its own")
		}
		fields[name] = value
	}
	return encode("Extra", map[string]any{"import": fields})
}

func (c *Client) runningJob() (s jobState, err error) {
	raw, err := c.lanes[LaneTrack].store.Note(jobNote)
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fail("import job: the note in the file", err)
	}
	return s, nil
}

// noteJob stores the note; nil removes it. It does so also after ctx has ended, because the import
// goes on too.
func (c *Client) noteJob(ctx context.Context, note []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return c.lanes[LaneTrack].store.AppendNoted(ctx, jobNote, note)
}

// startJob starts an import. It tries again after a 429, and after a 409, which says that another
// import is running. After any other failure the import may have started.
func (c *Client) startJob(ctx context.Context, body []byte) (int64, error) {
	for {
		s, err := c.askJob(ctx, http.MethodPost, "/v1/imports", body)
		if err == nil && s.ID == 0 {
			err = errors.New("the answer names no id")
		}
		if err == nil {
			return s.ID, nil
		}
		wait := time.Duration(0) // a 429 has made the limiter of askJob wait
		if code(err) == http.StatusConflict {
			wait = jobPoll
		} else if code(err) != http.StatusTooManyRequests {
			return 0, fail("start of the import job", err)
		}
		select {
		case <-time.After(wait):
		case <-c.quit:
			return 0, fail("the import job was not started", fmt.Errorf("%w: %w", outbox.ErrClosed, err))
		case <-ctx.Done():
			return 0, fail("the import job was not started", fmt.Errorf("%w: %w", context.Cause(ctx), err))
		}
	}
}

// endOfJob asks until the import has ended, and removes its note.
func (c *Client) endOfJob(ctx context.Context, id int64) (JobResult, error) {
	for {
		s, err := c.askJob(ctx, http.MethodGet, "/v1/imports/"+strconv.FormatInt(id, 10), nil)
		switch s.ID = id; {
		case err == nil && (s.State == "imported" || s.State == "failed" || s.State == "canceled"):
			if err = c.noteJob(ctx, nil); err == nil && s.State != "imported" {
				err = fmt.Errorf("customerio: import job %d: %s", id, s.State)
			}
			return s, err
		case code(err) == http.StatusNotFound && !errors.Is(err, errAddress):
			s.State = "unknown"
			return s, errors.Join(fail(fmt.Sprintf("import job %d: the service does not know it", id), err), c.noteJob(ctx, nil))
		case err != nil && ctx.Err() == nil && code(err) >= 400 && code(err) < 500 && code(err) != http.StatusTooManyRequests && code(err) != http.StatusRequestTimeout:
			return JobResult{ID: id}, fail(fmt.Sprintf("import job %d", id), err)
		}
		select {
		case <-time.After(jobPoll):
		case <-c.quit:
			return JobResult{ID: id}, fmt.Errorf("customerio: import job %d has not ended: the client was closed", id)
		case <-ctx.Done():
			return JobResult{ID: id}, fmt.Errorf("customerio: import job %d has not ended: %w", id, context.Cause(ctx))
		}
	}
}

// askJob makes one call, under the limit of Do.
func (c *Client) askJob(ctx context.Context, method, path string, body []byte) (JobResult, error) {
	var answer struct {
		Import JobResult `json:"import"`
	}
	if err := c.queryPace.Wait(ctx); err != nil {
		return answer.Import, fmt.Errorf("customerio: %w", err)
	}
	a, err := c.app.do(ctx, method, path, body)
	c.heed(&c.queryPause, err)
	if err != nil {
		return answer.Import, err
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		return answer.Import, fmt.Errorf("customerio: status %d with %d bytes that are not what was asked for", a.Status, len(a.Body))
	}
	return answer.Import, nil
}
