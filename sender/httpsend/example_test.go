package httpsend_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// What an HTTP client sends is stored without its credentials, and delivered with them.
func ExampleDurable() {
	destination := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Println("arrived:", req.Method, req.URL.Path, req.Header.Get("Authorization"), string(body))
	}))
	defer destination.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	b, err := outbox.Open(filepath.Join(dir, "requests.db"), &httpsend.Transport{
		Authorize: func(req *http.Request) error {
			req.Header.Set("Authorization", "Bearer of-today")
			return nil
		},
		IDHeader: "Idempotency-Key",
	}, &outbox.Options{Limiter: limiter.Within(50, time.Second)})
	if err != nil {
		log.Fatal(err)
	}

	client := &http.Client{Transport: &httpsend.Durable{
		Put: func(req *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
			return b.Put(req.Context(), outbox.Event{Kind: "http", Key: req.URL.Path, Header: header, Payload: body})
		},
	}}
	// From here on it is the SDK's.
	resp, err := client.Post(destination.URL+"/customers/7", "application/json", strings.NewReader(`{"plan":"basic"}`))
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the SDK got:", resp.Status)
	// Output:
	// arrived: POST /customers/7 Bearer of-today {"plan":"basic"}
	// the SDK got: 202 Accepted
}

// The SDK signs its requests. What is stored leaves the signature and its time out; each attempt gets
// new ones, so it does not matter how long a request has waited.
func ExampleDurable_signature() {
	sign := func(at string, body []byte) string {
		mac := hmac.New(sha256.New, []byte("the key of the SDK"))
		fmt.Fprintf(mac, "%s.%s", at, body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	destination := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Println("signed:", req.Header.Get("X-Signature") == sign(req.Header.Get("X-Time"), body))
	}))
	defer destination.Close()

	var stored sender.Item // in place of an outbox
	sdk := &http.Client{Transport: &httpsend.Durable{
		Secret: []string{"X-Signature", "X-Time"},
		Put: func(_ *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
			stored = sender.Item{ID: uuid.New(), Header: header, Payload: body}
			return stored.ID, nil
		},
	}}
	req, err := http.NewRequest(http.MethodPost, destination.URL, strings.NewReader(`{"plan":"basic"}`))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("X-Time", "946684800")
	req.Header.Set("X-Signature", sign("946684800", []byte(`{"plan":"basic"}`)))
	resp, err := sdk.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	fmt.Println("stored:", stored.Header["X-Time"]+stored.Header["X-Signature"] == "")

	transport := &httpsend.Transport{Authorize: func(req *http.Request) error {
		r, err := req.GetBody() // a copy: the body itself is still to be sent
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set("X-Time", at)
		req.Header.Set("X-Signature", sign(at, body))
		return nil
	}}
	if err := transport.Send(context.Background(), stored); err != nil {
		log.Fatal(err)
	}
	// Output:
	// stored: true
	// signed: true
}

// A transport around an SDK that shows neither status nor header.
func ExampleObserve() {
	destination := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer destination.Close()

	client := httpsend.NewClient()
	client.Transport = httpsend.Observe(client.Transport)
	track := func(ctx context.Context) error { // the SDK
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, destination.URL, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New("something went wrong")
		}
		return nil
	}

	transport := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		ctx, calls := httpsend.Watch(ctx)
		return calls.Verdict(track(ctx)) // here: the lane waits 30 seconds
	})

	err := transport.Send(context.Background(), sender.Item{})
	var status *httpsend.StatusError
	fmt.Println(errors.As(err, &status), status.Code, status.RetryAfter)
	// Output: true 429 30s
}
