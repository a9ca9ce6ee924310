package httpsend_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// Types, flags and codes of RFC 9113, sections 6 and 7.
const (
	frameData, frameHeaders, frameReset, frameSettings = 0, 1, 3, 4
	framePing, frameGoAway, frameContinuation          = 6, 7, 9

	flagEnd, flagAck, flagEndHeaders = 1, 1, 4

	codeNone, codeProtocol, codeRefused, codeCalm = 0, 1, 7, 11
)

// status200 is a header block: an entry of the static table of RFC 7541.
const status200 = "\x88"

// frames writes frames to a client, and drops what the client is not there to take.
type frames struct {
	conn    net.Conn
	written *atomic.Int64
}

func (f frames) write(kind, flags byte, stream uint32, payload string) bool {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	n, err := f.conn.Write(append(b, payload...))
	f.written.Add(int64(n))
	return err == nil
}

func (f frames) answer(stream uint32) {
	f.write(frameHeaders, flagEndHeaders|flagEnd, stream, status200)
}

func (f frames) reset(stream uint32, code byte) bool {
	return f.write(frameReset, 0, stream, string([]byte{0, 0, 0, code}))
}

func (f frames) goAway(last uint32, code byte, debug string) bool {
	b := binary.BigEndian.AppendUint32(nil, last)
	return f.write(frameGoAway, 0, 0, string(append(b, 0, 0, 0, code))+debug)
}

// serveHTTP2 speaks as much HTTP/2 as it takes to be misunderstood: answer is called, on a goroutine of its
// own, for each request.
func serveHTTP2(conn net.Conn, answer func(f frames, stream uint32), written *atomic.Int64) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	f := frames{conn, written}
	r := bufio.NewReader(conn)
	if _, err := io.CopyN(io.Discard, r, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return
	}
	greeted := make(chan struct{})
	wg.Go(func() { f.write(frameSettings, 0, 0, ""); close(greeted) })
	for {
		var h [9]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(h[:4])>>8)); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(h[5:])
		switch kind, flags := h[3], h[4]; {
		case kind == frameSettings && flags&flagAck == 0:
			wg.Go(func() { <-greeted; f.write(frameSettings, flagAck, 0, "") })
		case (kind == frameHeaders || kind == frameData) && flags&flagEnd != 0:
			wg.Go(func() { <-greeted; answer(f, stream) })
		}
	}
}

// TestHostileHTTP2 is the table of what a destination can do by HTTP/2. One Send is one request whatever it
// does, or the limiter would be told of one where the destination counts seven.
func TestHostileHTTP2(t *testing.T) {
	endless := func(write func() bool) { // as fast as it is read
		for write() {
		}
	}
	flood := func(write func() bool) { // of what the client throws away, which would leave the bubble no time to pass
		for write() {
			time.Sleep(time.Millisecond)
		}
	}
	for _, row := range []struct {
		says   string
		answer func(f frames, stream uint32)
		want   string
	}{
		{"all is well", func(f frames, s uint32) { f.answer(s) }, delivered},
		{"refused", func(f frames, s uint32) { f.reset(s, codeRefused) }, retry},
		{"a protocol error, it says", func(f frames, s uint32) { f.reset(s, codeProtocol) }, retry},
		{"more calm, please", func(f frames, s uint32) { f.reset(s, codeCalm) }, retry},
		{"reset without end", func(f frames, s uint32) { flood(func() bool { return f.reset(s, codeCalm) }) }, retry},
		{"an answer, and resets without end", func(f frames, s uint32) {
			f.answer(s)
			flood(func() bool { return f.reset(s, codeRefused) })
		}, delivered},
		{"it goes away before", func(f frames, s uint32) { f.goAway(0, codeNone, "") }, retry},
		{"it goes away meanwhile", func(f frames, s uint32) { f.goAway(s, codeNone, ""); f.conn.Close() }, retry},
		{"it goes away, angrily", func(f frames, s uint32) { f.goAway(0, codeCalm, "hush-header") }, retry},
		{"it goes away without end", func(f frames, s uint32) { flood(func() bool { return f.goAway(s, codeNone, "hush-header") }) }, retry},
		{"pings without end", func(f frames, _ uint32) { flood(func() bool { return f.write(framePing, 0, 0, "12345678") }) }, retry},
		{"a header without end", func(f frames, s uint32) {
			f.write(frameHeaders, 0, s, status200)
			endless(func() bool { return f.write(frameContinuation, 0, s, "\x00\x01x\x01y") })
		}, retry},
		{"a header of a byte a second", func(f frames, s uint32) {
			f.write(frameHeaders, 0, s, status200)
			endless(func() bool { time.Sleep(time.Second); return f.write(frameContinuation, 0, s, "\x88") })
		}, retry},
		{"garbage", func(f frames, s uint32) { io.WriteString(f.conn, "hush-header hush-header hush-header") }, retry},
		{"a body without end", func(f frames, s uint32) {
			f.write(frameHeaders, flagEndHeaders, s, status200)
			flood(func() bool { return f.write(frameData, 0, s, string(make([]byte, 1000))) })
		}, delivered},
		{"silence", func(frames, uint32) {}, retry},
	} {
		t.Run(row.says, func(t *testing.T) {
			const deadline = 5 * time.Second
			var requests, written atomic.Int64
			var err error
			var took time.Duration
			server := httptest.NewUnstartedServer(nil)
			server.StartTLS() // for its certificate, and a client that trusts it
			config, client := server.TLS.Clone(), server.Client()
			server.Close()
			config.NextProtos = []string{"h2"}
			synctest.Test(t, func(t *testing.T) {
				p := outboxtest.NewPipe()
				var wg sync.WaitGroup
				wg.Go(func() {
					for {
						conn, err := p.Accept()
						if err != nil {
							return
						}
						wg.Go(func() {
							serveHTTP2(tls.Server(conn, config), func(f frames, stream uint32) {
								if requests.Add(1) <= 50 { // then it falls silent, so that an endless repetition ends
									row.answer(f, stream)
								}
							}, &written)
						})
					}
				})
				c := httpsend.NewClient()
				tr := c.Transport.(*http.Transport)
				tr.DialContext, tr.Proxy = p.DialContext, nil
				tr.TLSClientConfig = client.Transport.(*http.Transport).TLSClientConfig.Clone()
				sends, it := confidential(t, c, "https://example.com")
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				err = sends.Send(ctx, it)
				took = time.Since(began)
				time.Sleep(time.Second) // until the connection is idle
				c.CloseIdleConnections()
				p.Close()
				wg.Wait()
			})
			if took > deadline {
				t.Errorf("it took %v, the deadline was %v", took, deadline)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests arrived of one Send", n)
			}
			if n := written.Load(); n > 2<<20 {
				t.Errorf("%d bytes could be written", n)
			}
			expect(t, err, row.want)
			discreet(t, row.says, err)
		})
	}
}
