package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// send is one sending process: it puts events until its input ends, delivers them under the limit
// of the fleet, and ends when nothing is pending.
func send() error {
	c := redis.NewClient(&redis.Options{Addr: *redisAddr, ContextTimeoutEnabled: true})
	defer c.Close()
	// The jitter is generous, because this machine runs everything at once.
	l, err := redislimiter.New(c, "fleet", *limit, time.Second, &redislimiter.Options{
		Jitter: 250 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := outbox.Open(*file, sender.TransportFunc(deliver), &outbox.Options{Limiter: l})
	if err != nil {
		return err
	}
	defer b.Close()

	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	// The number of an event is the time of its Put: it grows also across a kill.
	tick := time.NewTicker(80 * time.Millisecond)
	defer tick.Stop()
	for putting := true; putting; {
		select {
		case <-ended:
			putting = false
		case now := <-tick.C:
			key := *origin + "-" + strconv.Itoa(int(now.UnixNano()/1e8)%5)
			id, err := b.Put(context.Background(), outbox.Event{
				Kind: "visit", Key: key, Header: map[string]string{"Number": strconv.FormatInt(now.UnixNano(), 10)},
			})
			if err != nil {
				return err
			}
			fmt.Println(id)
		}
	}
	for b.Stats().Pending > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func deliver(ctx context.Context, it sender.Item) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, *sendTo, nil)
	if err != nil {
		return sender.Permanent(err)
	}
	req.Header.Set("Idempotency-Key", it.ID.String())
	req.Header.Set("Key", it.Key)
	req.Header.Set("Number", it.Header["Number"])
	_, err = httpsend.Do(nil, req)
	return err
}
