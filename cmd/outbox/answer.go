package main

import (
	"encoding/json"
	"time"
)

// These are the JSON of a monitor, as far as it is used here. See docs/monitor.md.

type overview struct {
	Now   time.Time `json:"now"`
	File  *file     `json:"file"`
	Lanes []lane    `json:"lanes"`
}

type file struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

type lane struct {
	Now  time.Time `json:"now"` // only of one lane
	Name string    `json:"name"`
	File *file     `json:"file"`

	State string `json:"state"`
	Held  *struct {
		By    string    `json:"by"`
		Since time.Time `json:"since"`
		Error string    `json:"error"`
		Probe time.Time `json:"probe"`
	} `json:"held"`
	Throttled *struct {
		Until time.Time `json:"until"`
	} `json:"throttled"`
	Paused *struct {
		Until  time.Time `json:"until"`
		Since  time.Time `json:"since"`
		By     string    `json:"by"`
		Reason string    `json:"reason"`
	} `json:"paused"`

	Pending   int       `json:"pending"`
	Ready     int       `json:"ready"`
	InLine    int       `json:"in_line"`
	InFlight  int       `json:"in_flight"`
	Retrying  int       `json:"retrying"`
	Scheduled int       `json:"scheduled"`
	Dead      int       `json:"dead"`
	Oldest    time.Time `json:"oldest"`

	Rate        float64  `json:"rate"`
	Limit       float64  `json:"limit"`
	Requests    float64  `json:"requests_per_second"`
	SecondsLeft *float64 `json:"seconds_left"`
	Abandoned   int      `json:"abandoned"`
	Fallback    string   `json:"fallback"`
	Ledger      struct {
		Put       uint64 `json:"put"`
		Delivered uint64 `json:"delivered"`
		Expired   uint64 `json:"expired"`
		Dropped   uint64 `json:"dropped"`
	} `json:"ledger"`

	Errors []struct {
		Error string    `json:"error"`
		Count int       `json:"count"`
		Last  time.Time `json:"last"`
	} `json:"errors"` // only of one lane
}

type listing struct {
	Of     int               `json:"of"`
	Looked int               `json:"looked"`
	Next   string            `json:"next"`
	Items  []json.RawMessage `json:"items"`
}

type event struct {
	ID       string            `json:"id"`
	At       uint64            `json:"at"`
	State    string            `json:"state"`
	Kind     string            `json:"kind"`
	Key      string            `json:"key"`
	Created  time.Time         `json:"created"`
	Due      time.Time         `json:"due"`
	Expires  time.Time         `json:"expires"`
	Attempts int               `json:"attempts"`
	Failures int               `json:"failures"`
	Failed   time.Time         `json:"failed"`
	LastErr  string            `json:"last_error"`
	Bytes    int64             `json:"bytes"`
	Headers  []string          `json:"headers"`
	Damage   string            `json:"error"`
	Header   map[string]string `json:"header"`
	Payload  *[]byte           `json:"payload"` // nil: hidden, or it cannot be read
	Contents string            `json:"contents"`

	// Only of one event.
	History []struct {
		At     time.Time `json:"at"`
		Reason string    `json:"reason"`
	} `json:"history"`
	Reasons []struct {
		Code  string    `json:"code"`
		Until time.Time `json:"until"`
		Text  string    `json:"text"`
		Cause string    `json:"cause"`
		Head  *ref      `json:"head"` // the first of its key
	} `json:"reasons"`
	Ahead int       `json:"ahead"`
	About time.Time `json:"about"`
}

// A ref names an event to a monitor.
type ref struct {
	At uint64 `json:"at"`
	ID string `json:"id"`
}

// An action is what a monitor is asked to do.
type action struct {
	Do      string            `json:"do"`
	Items   []ref             `json:"items,omitempty"`
	All     int               `json:"all,omitempty"`
	List    string            `json:"list,omitempty"`
	Key     string            `json:"key,omitempty"`
	Kind    string            `json:"kind,omitempty"`
	ID      string            `json:"id,omitempty"`
	After   string            `json:"after,omitempty"`
	Payload []byte            `json:"payload,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	Was     string            `json:"was,omitempty"`
	Revive  int               `json:"revive,omitempty"`
	Until   string            `json:"until,omitempty"`
	Reason  string            `json:"reason,omitempty"`
}

// done is what came of it.
type done struct {
	Done       int    `json:"done"`
	PassedOver int    `json:"passed_over"`
	Next       string `json:"next"`
}
