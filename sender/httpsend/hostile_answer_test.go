package httpsend_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// secrets are in every part of a hostile request that may hold one.
var secrets = []string{"hush-header", "hush-query", "hush-body", "hush-user"}

// confidential is a request with all of them, and what puts the header back.
func confidential(t *testing.T, c *http.Client, url string) (*httpsend.Transport, sender.Item) {
	t.Helper()
	tr := &httpsend.Transport{Client: c, Authorize: func(req *http.Request) error {
		req.Header.Set("Authorization", "Bearer hush-header")
		return nil
	}}
	url = strings.Replace(url, "://", "://hush-user:hush-user@", 1)
	return tr, store(t, httpsend.Durable{}, request(t, "POST", url+"/p?token=hush-query", "hush-body"))
}

// discreet fails if an error tells a secret, or more than fits into a line.
func discreet(t *testing.T, says string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s: the error tells a secret: %s", says, text)
		}
	}
	if len(text) > 600 || strings.ContainsAny(text, "\r\n\x00") {
		t.Errorf("%s: the error is not one short line: %.700q", says, text)
	}
}

// A liar serves a connection; echo is all of the request, which has been read to its end. It returns when
// nothing can be written any more, or when it has said all; then the connection is closed.
type liar func(w io.Writer, echo string)

// counting counts what could be written.
type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// lie serves a connection in memory.
func lie(conn net.Conn, tell liar, written *atomic.Int64) {
	defer conn.Close()
	var echo strings.Builder
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &echo)))
	if err != nil {
		return
	}
	io.Copy(io.Discard, req.Body)
	tell(counting{conn, written}, echo.String())
}

// withLiars runs f in a bubble with a client of NewClient that reaches nobody but liars.
func withLiars(t *testing.T, tell liar, f func(t *testing.T, c *http.Client)) (written int64) {
	t.Helper()
	var n atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		p := outboxtest.NewPipe()
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := p.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { lie(conn, tell, &n) })
			}
		})
		c := httpsend.NewClient()
		c.Transport.(*http.Transport).DialContext = p.DialContext
		c.Transport.(*http.Transport).Proxy = nil
		f(t, c)
		c.CloseIdleConnections()
		p.Close()
		wg.Wait()
	})
	return n.Load()
}

// says writes a text once.
func says(text string) liar { return func(w io.Writer, _ string) { io.WriteString(w, text) } }

// echoes writes a text with the request, on one line, in the place of %s.
func echoes(format string) liar {
	return func(w io.Writer, echo string) {
		fmt.Fprintf(w, format, strings.NewReplacer("\r", " ", "\n", " ").Replace(echo))
	}
}

// forever writes head once, and then text again and again.
func forever(head, text string) liar {
	text = strings.Repeat(text, 1+1000/len(text))
	return func(w io.Writer, _ string) {
		_, err := io.WriteString(w, head)
		for err == nil {
			_, err = io.WriteString(w, text)
		}
	}
}

// slowly writes head, and then a byte of text a second, again and again.
func slowly(head, text string) liar {
	return func(w io.Writer, _ string) {
		_, err := io.WriteString(w, head)
		for i := 0; err == nil; i++ {
			time.Sleep(time.Second)
			_, err = io.WriteString(w, text[i%len(text):][:1])
		}
	}
}

// hangs writes a text, and then nothing for a day.
func hangs(text string) liar {
	return func(w io.Writer, _ string) {
		io.WriteString(w, text)
		time.Sleep(24 * time.Hour)
	}
}

const ok = "HTTP/1.1 200 OK\r\n"

// TestHostileAnswers is the table of answers that no server of good will gives: what each means, that
// it ends with the deadline at the latest, that no more than a bound of it is read, and that no error
// tells what the destination echoes.
func TestHostileAnswers(t *testing.T) {
	for _, row := range []struct {
		says string
		tell liar
		want string
	}{
		{"a status line without end", forever("HTTP/1.1 200 ", "OK"), retry},
		{"a header line without end", forever(ok+"X-Long: ", "x"), retry},
		{"header lines without end", forever(ok, "X-More: x\r\n"), retry},
		{"empty lines without end", forever("", "\r\n"), retry},
		{"folded lines without end", forever(ok+"X-Folded: x\r\n", " x\r\n"), retry},
		{"early hints without end", forever("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), retry},
		{"100 without end", forever("", "HTTP/1.1 100 Continue\r\n\r\n"), retry},
		{"a body without end", forever(ok+"\r\n", "x"), delivered},
		{"a body without end of a 400", forever("HTTP/1.1 400 Bad Request\r\n\r\n", "x"), permanent},
		{"chunks without end", forever(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), delivered},
		{"an extension of a chunk without end", forever(ok+"Transfer-Encoding: chunked\r\n\r\n1;", "x"), delivered},
		{"extensions of chunks without end", forever(ok+"Transfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("x", 1000)+"\r\nx\r\n"), delivered},
		{"trailers without end", forever(ok+"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n", "X: x\r\n"), delivered},

		{"a status line of a byte a second", slowly("", "HTTP/1.1 200 OK"), retry},
		{"a header of a byte a second", slowly(ok, "X: x\r\n"), retry},
		{"a body of a byte a second", slowly(ok+"\r\n", "x"), delivered},
		{"early hints, slowly", slowly("", "HTTP/1.1 103 Early Hints\r\n\r\n"), retry},
		{"silence", hangs(""), retry},
		{"silence in the header", hangs(ok), retry},
		{"silence in the body", hangs(ok + "Content-Length: 9\r\n\r\nx"), delivered},
		{"silence in the body of a 429", hangs("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 9\r\nContent-Length: 9\r\n\r\nx"), throttled},

		{"another protocol, and silence", hangs("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), retry},
		{"another protocol without end", forever("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "x"), retry},
		{"another protocol of a byte a second", slowly("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "x"), retry},

		{"a chunk shorter than it says", says(ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nab\r\n0\r\n\r\n"), delivered},
		{"a chunk longer than it says", says(ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nabcdef\r\n0\r\n\r\n"), delivered},
		{"a chunk as long as memory", forever(ok+"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", "x"), delivered},
		{"a chunk of more than 64 bits", says(ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"), delivered},
		{"a chunk of negative length", says(ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\nx"), delivered},
		{"a chunk of no length", echoes(ok + "Transfer-Encoding: chunked\r\n\r\n%s\r\n"), delivered},
		{"an unknown coding", echoes(ok + "Transfer-Encoding: %s\r\n\r\nx"), retry},
		{"two codings", echoes(ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: %s\r\n\r\nx"), retry},

		{"less than its length", says(ok + "Content-Length: 1000\r\n\r\nx"), delivered},
		{"more than its length", says(ok + "Content-Length: 1\r\n\r\nxyz"), delivered},
		{"a length of all there is", forever(ok+"Content-Length: 9223372036854775807\r\n\r\n", "x"), delivered},
		{"a length of more than 64 bits", says(ok + "Content-Length: 99999999999999999999\r\n\r\nx"), retry},
		{"a negative length", says(ok + "Content-Length: -1\r\n\r\nx"), retry},
		{"a length that is none", echoes(ok + "Content-Length: %s\r\n\r\nx"), retry},
		{"two lengths", echoes(ok + "Content-Length: 1\r\nContent-Length: %s\r\n\r\nx"), retry},
		{"chunks and a length", says(ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"), delivered},
		{"a body where none may be", says("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"), delivered},
		{"packed that is not", says(ok + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), delivered},

		{"nothing", says(""), retry},
		{"the request itself", echoes("%s\r\n\r\n"), retry},
		{"the request as a version", echoes("HTTP/%s 200 OK\r\n\r\n"), retry},
		{"the request as a status", echoes("HTTP/1.1 %s\r\n\r\n"), retry},
		{"the request as a reason", echoes("HTTP/1.1 400 %s\r\nContent-Length: 0\r\n\r\n"), permanent},
		{"the request as a line of the header", echoes(ok + "%s\r\n\r\n"), retry},
		{"the request as the name of a field", echoes(ok + "hush-header %s: x\r\n\r\n"), retry},
		{"the request as the first line, folded", echoes(ok + " %s\r\n\r\n"), retry},
		{"the request as the value of a field", echoes(ok + "X: \x00%s\r\n\r\n"), retry},
		{"the request as the body", echoes("HTTP/1.1 500 Oops\r\n\r\n%s"), retry},
		{"the request as Retry-After", echoes("HTTP/1.1 429 Too Many\r\nRetry-After: %s\r\n\r\n"), throttled},
		{"zeros", forever("", "\x00"), retry},
		{"TLS", says("\x15\x03\x01\x00\x02\x02\x46"), retry},
		{"HTTP/2", says("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00"), retry},
		{"HTTP/0.9", says("<html>hello</html>"), retry},
		{"a status of two digits", says("HTTP/1.1 99 Low\r\n\r\n"), retry},
		{"a status of four digits", says("HTTP/1.1 2000 High\r\n\r\n"), retry},
		{"a negative status", says("HTTP/1.1 -20 Low\r\n\r\n"), retry},

		{"a redirect to itself", says("HTTP/1.1 307 Again\r\nLocation: /p\r\nContent-Length: 0\r\n\r\n"), unavailable},
		{"a redirect to nowhere", echoes("HTTP/1.1 302 Found\r\nLocation: http://[%s\r\nContent-Length: 0\r\n\r\n"), unavailable},
		{"a redirect without a place", says("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"), unavailable},
		{"a proxy in between", echoes("HTTP/1.1 407 %s\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), unavailable},
	} {
		t.Run(row.says, func(t *testing.T) {
			const deadline = 5 * time.Second
			var err error
			written := withLiars(t, row.tell, func(t *testing.T, c *http.Client) {
				tr, it := confidential(t, c, "http://example.org")
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began, done := time.Now(), make(chan error, 1)
				go func() { done <- tr.Send(ctx, it) }()
				select {
				case err = <-done:
				case <-time.After(time.Hour):
					t.Error("it did not end within an hour")
					<-done
				}
				if took := time.Since(began); took > deadline && !t.Failed() {
					t.Errorf("it took %v, the deadline was %v", took, deadline)
				}
			})
			if written > 512<<10 {
				t.Errorf("%d bytes could be written", written)
			}
			expect(t, err, row.want)
			discreet(t, row.says, err)
		})
	}
}
