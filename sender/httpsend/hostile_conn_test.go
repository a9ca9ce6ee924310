package httpsend_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// TestReset is the table of connections that are reset, or closed, at each stage of a large request.
func TestReset(t *testing.T) {
	const size = 4 << 20 // more than the buffers on the way hold
	reset := func(c *net.TCPConn) { c.SetLinger(0) }
	head := func(c *net.TCPConn) *bufio.Reader { // reads as far as the header of the request
		r := bufio.NewReaderSize(c, 16)
		for {
			if line, _, err := r.ReadLine(); err != nil || len(line) == 0 {
				return r
			}
		}
	}
	part := func(c *net.TCPConn, n int64) { io.CopyN(io.Discard, head(c), n) }
	answer := func(text string, end func(*net.TCPConn)) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			part(c, size)
			io.WriteString(c, text)
			end(c)
		}
	}
	closed := func(c *net.TCPConn) { c.CloseWrite(); io.Copy(io.Discard, c) }
	for _, row := range []struct {
		says  string
		serve func(*net.TCPConn)
		want  string
	}{
		{"reset when it is accepted", reset, retry},
		{"closed when it is accepted", func(*net.TCPConn) {}, retry},
		{"reset after the header", func(c *net.TCPConn) { head(c); reset(c) }, retry},
		{"reset in the body", func(c *net.TCPConn) { part(c, size/2); reset(c) }, retry},
		{"reset after the body", func(c *net.TCPConn) { part(c, size); reset(c) }, retry},
		{"closed after the body", func(c *net.TCPConn) { part(c, size); closed(c) }, retry},
		{"closed in the status line", answer("HTTP/1.1 20", closed), retry},
		{"closed in the header", answer(ok+"X: hush-bo", closed), retry},
		{"closed after early hints", answer("HTTP/1.1 103 Early Hints\r\n\r\n", closed), retry},
		{"closed in a body with a length", answer(ok+"Content-Length: 9\r\n\r\nx", closed), delivered},
		{"closed in a chunk", answer(ok+"Transfer-Encoding: chunked\r\n\r\n9\r\nx", closed), delivered},
		{"closed in the body of a 500", answer("HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nx", closed), retry},
		{"refused before the body was sent", func(c *net.TCPConn) {
			head(c)
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			closed(c)
		}, permanent},
		{"accepted before the body was sent", func(c *net.TCPConn) {
			head(c)
			io.WriteString(c, ok+"Connection: close\r\nContent-Length: 0\r\n\r\n")
			closed(c)
		}, delivered},
	} {
		t.Run(row.says, func(t *testing.T) {
			c := httpsend.NewClient()
			defer c.CloseIdleConnections()
			tr, it := confidential(t, c, raw(t, row.serve))
			it.Payload = bytes.Repeat([]byte("hush-body"), size/9+1)[:size]
			err := tr.Send(t.Context(), it)
			if mark, _ := fate(t, err); row.says != "reset when it is accepted" || mark != unavailable { // it may be seen while dialling
				expect(t, err, row.want)
			}
			discreet(t, row.says, err)
		})
	}
}

// A listener that goes while connections wait to be accepted resets them.
func TestResetBeforeAccept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := httpsend.NewClient()
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return conn, errors.Join(err, l.Close())
	}
	tr, it := confidential(t, c, "http://"+l.Addr().String())
	err = tr.Send(t.Context(), it)
	expect(t, err, retry)
	discreet(t, "reset before accept", err)
	expect(t, tr.Send(t.Context(), it), unavailable) // and from then on it is refused
}

// An answer that comes after the deadline is not taken for that of another request.
func TestLateAnswer(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			time.Sleep(6 * time.Second)
		}
		io.WriteString(w, req.URL.Path)
	}, func(t *testing.T, c *http.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if a, err := httpsend.Do(c, request(t, "POST", "http://example.org/slow", "").WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v; want the end of the context", a, err)
		}
		for range 3 { // now, while the late answer is written, and afterwards
			a, err := httpsend.Do(c, request(t, "POST", "http://example.org/quick", ""))
			if err != nil || string(a.Body) != "/quick" {
				t.Errorf("the answer is %+v, %v", a, err)
			}
			time.Sleep(time.Second)
		}
	})
}

// A client that unpacks by itself unpacks no more than is read.
func TestBombForAClientThatUnpacks(t *testing.T) {
	var part bytes.Buffer
	z := gzip.NewWriter(&part)
	z.Write(make([]byte, 1<<20))
	z.Close()
	bomb := bytes.Repeat(part.Bytes(), 256) // parts that are joined are unpacked as one
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb)
	}))
	defer srv.Close()
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	answer, err := httpsend.Do(c, request(t, "POST", srv.URL, ""))
	runtime.ReadMemStats(&after)
	if err != nil || len(answer.Body) != 64<<10 || !answer.Cut || answer.Body[0] != 0 {
		t.Fatalf("%d bytes, %v; want 64 KiB of what was unpacked", len(answer.Body), err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes were allocated for %d of a bomb of 256 MiB", n, len(bomb))
	}
}

// certificate makes a certificate for a host, and the authority that signed it: itself.
func certificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLSThatFails is the table of servers that cannot be trusted: nothing is sent to them, and the lane
// holds until somebody has replaced the certificate.
func TestTLSThatFails(t *testing.T) {
	later := time.Now().AddDate(0, 1, 0)
	for _, row := range []struct {
		says, host string
		until      time.Time
		trusted    bool
		want       string
	}{
		{"in order", "good.example", later, true, delivered},
		{"expired", "good.example", time.Now().Add(-time.Hour), true, unavailable},
		{"not valid yet", "good.example", later.AddDate(2, 0, 0), true, unavailable},
		{"of another host", "evil.example", later, true, unavailable},
		{"of an unknown authority", "good.example", later, false, unavailable},
	} {
		t.Run(row.says, func(t *testing.T) {
			cert, pool := certificate(t, row.host, row.until)
			var requests int
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			srv.StartTLS()
			defer srv.Close()
			c := httpsend.NewClient()
			defer c.CloseIdleConnections()
			tr := c.Transport.(*http.Transport)
			tr.Proxy = nil
			tr.TLSClientConfig = &tls.Config{ServerName: "good.example"}
			if tr.TLSClientConfig.RootCAs = x509.NewCertPool(); row.trusted {
				tr.TLSClientConfig.RootCAs = pool
			}
			sends, it := confidential(t, c, srv.URL)
			err := sends.Send(t.Context(), it)
			expect(t, err, row.want)
			discreet(t, row.says, err)
			if (requests > 0) != (row.want == delivered) {
				t.Errorf("%d requests arrived", requests)
			}
		})
	}
}

// Nothing dies of plain HTTP on a port of TLS: net/http and others answer it with a 400, and nothing in
// that tells it from one that refuses the item. Servers that answer with an alert are tried again.
func TestPlainOnAPortOfTLS(t *testing.T) {
	alert := raw(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		c.Write([]byte{21, 3, 1, 0, 2, 2, 10}) // unexpected_message
		c.CloseWrite()
		io.Copy(io.Discard, c)
	})
	c := httpsend.NewClient()
	defer c.CloseIdleConnections()
	tr, it := confidential(t, c, alert)
	err := tr.Send(t.Context(), it)
	expect(t, err, retry)
	discreet(t, "an alert", err)
}

// TestHostileProxy is the table of proxies that do not let a request through. They know our credentials
// with them, and say them back.
func TestHostileProxy(t *testing.T) {
	for _, row := range []struct {
		says string
		tell liar
	}{
		{"credentials, please", echoes("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=%s\r\n\r\n")},
		{"credentials, please, other than these", echoes("HTTP/1.1 407 not with %s\r\n\r\n")},
		{"no", echoes("HTTP/1.1 403 %s\r\nContent-Length: 0\r\n\r\n")},
		{"a redirect", echoes("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/%s\r\n\r\n")},
		{"garbage", echoes("%s\r\n\r\n")},
		{"a header without end", forever("HTTP/1.1 200 OK\r\n", "X: x\r\n")},
		{"silence", hangs("HTTP/1.1 200 O")},
		{"a byte a second", slowly("HTTP/1.1 200 OK\r\n", "X: x\r\n")},
		{"200, and then no TLS", says("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")},
	} {
		t.Run(row.says, func(t *testing.T) {
			const deadline = 5 * time.Second
			var err error
			var took time.Duration
			written := withLiars(t, row.tell, func(t *testing.T, c *http.Client) {
				c.Transport.(*http.Transport).Proxy = func(*http.Request) (*url.URL, error) {
					return url.Parse("http://hush-user:hush-user@proxy.example")
				}
				tr, it := confidential(t, c, "https://example.org")
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				err = tr.Send(ctx, it)
				took = time.Since(began)
			})
			if took > deadline || written > 512<<10 {
				t.Errorf("it took %v, and %d bytes could be written", took, written)
			}
			want := unavailable
			if took == deadline {
				want = retry // whose own time is up learns nothing of the destination
			}
			expect(t, err, want)
			discreet(t, row.says, err)
			for _, s := range []string{"Basic", "aHVzaC11c2VyOmh1c2gtdXNlcg"} { // what the proxy was told, in base64
				if err != nil && strings.Contains(err.Error(), s) {
					t.Errorf("the error tells the credentials of the proxy: %v", err)
				}
			}
		})
	}
}
