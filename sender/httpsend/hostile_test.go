package httpsend_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// drip answers with status, and then a byte a second without end.
func drip(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		w.WriteHeader(status)
		for {
			if _, err := w.Write([]byte{'x'}); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
			select {
			case <-time.After(time.Second):
			case <-req.Context().Done():
				return
			}
		}
	}
}

// An answer of one byte a second ends with the deadline, and the status counts.
func TestSlowBody(t *testing.T) {
	for status, want := range map[int]string{200: delivered, 500: retry, 400: permanent} {
		var err error
		inBubble(t, drip(status), func(t *testing.T, c *http.Client) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			it := store(t, httpsend.Durable{}, request(t, "POST", "http://example.org/", ""))
			began := time.Now()
			err = (&httpsend.Transport{Client: c}).Send(ctx, it)
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("it took %v, the deadline was 5s", took)
			}
		})
		expect(t, err, want)
	}
}

// Of an endless body 64 KiB are read, and then the connection is closed.
func TestEndlessBody(t *testing.T) {
	var written atomic.Int64
	inBubble(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 4096))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	}, func(t *testing.T, c *http.Client) {
		answer, err := httpsend.Do(c, request(t, "POST", "http://example.org/", ""))
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Body) != 64<<10 || !answer.Cut {
			t.Errorf("%d bytes were read, cut: %v", len(answer.Body), answer.Cut)
		}
	})
	if n := written.Load(); n > 256<<10 {
		t.Errorf("the server could write %d bytes", n)
	}
}

// A body that breaks off is told from a whole one, and the status counts.
func TestBrokenBody(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
	}, func(t *testing.T, c *http.Client) {
		answer, err := httpsend.Do(c, request(t, "POST", "http://example.org/", ""))
		if err != nil || !answer.Cut || string(answer.Body) != "half" {
			t.Errorf("the answer is %+v, %v", answer, err)
		}
	})
}

// A body of exactly the limit is whole.
func TestLargestBody(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 64<<10)) }, func(t *testing.T, c *http.Client) {
		answer, err := httpsend.Do(c, request(t, "POST", "http://example.org/", ""))
		if err != nil || answer.Cut || len(answer.Body) != 64<<10 {
			t.Errorf("%d bytes, cut: %v, %v", len(answer.Body), answer.Cut, err)
		}
	})
}

// A header without end is a failed answer.
func TestEndlessHeader(t *testing.T) {
	var written int64
	var err error
	inBubble(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		for {
			n, err := io.WriteString(conn, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
			if written += int64(n); err != nil {
				return
			}
		}
	}, func(t *testing.T, c *http.Client) {
		_, err = httpsend.Do(c, request(t, "POST", "http://example.org/", ""))
	})
	if written > 256<<10 {
		t.Errorf("the server could write %d bytes", written)
	}
	expect(t, err, retry)
}

// What is packed is unpacked, and no more of it than of any other body.
func TestPackedBody(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 8<<20))
	z.Close()
	inBubble(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Accept-Encoding") != "" {
			t.Error("the client asks for packed answers")
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	}, func(t *testing.T, c *http.Client) {
		answer, err := httpsend.Do(c, request(t, "POST", "http://example.org/", ""))
		if err != nil || !bytes.Equal(answer.Body, make([]byte, 64<<10)) || !answer.Cut {
			t.Errorf("%d bytes, cut %v, %v", len(answer.Body), answer.Cut, err)
		}
	})
}

// Answers that are not JSON, or not text, change nothing; an excerpt of them is one short line.
func TestExcerpt(t *testing.T) {
	for says, row := range map[string]struct{ body, want string }{
		"HTML":           {"<html>\r\n<h1>Bad\tGateway</h1>", ": <html>  <h1>Bad Gateway</h1>"},
		"control":        {"a\x00\x1b[31mb\xff\u202ec", ": a[31mbc"},
		"long":           {strings.Repeat("ü", 1000), ": " + strings.Repeat("ü", 98) + "…"},
		"nothing at all": {"", ""},
	} {
		inBubble(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			io.WriteString(w, row.body)
		}, func(t *testing.T, c *http.Client) {
			quiet := send(t, &httpsend.Transport{Client: c}, "http://example.org/a")
			if got, want := quiet.Error(), "httpsend: POST example.org/a: 502 Bad Gateway"; got != want {
				t.Errorf("%s: by default the error is %q, want %q", says, got, want)
			}
			err := send(t, &httpsend.Transport{Client: c, Excerpt: func(body []byte) string { return string(body) }}, "http://example.org/a")
			if got, want := err.Error(), "httpsend: POST example.org/a: 502 Bad Gateway"+row.want; got != want {
				t.Errorf("%s: the error is %q, want %q", says, got, want)
			}
		})
	}
}
