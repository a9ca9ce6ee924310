package main

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
)

// These are the Go blocks of docs/scale.md and docs/customerio.md about limits in Redis. Here they compile.
var (
	_ = func(client *redis.Client, transport sender.Transport) (*outbox.Outbox, error) {
		l, err := redislimiter.New(client, "customerio-track", 100, time.Second, nil)
		if err != nil {
			return nil, err
		}
		b, err := outbox.Open("events.db", transport, &outbox.Options{Limiter: l})
		return b, err
	}
	_ = func(client *redis.Client, o customerio.Options) (_ *customerio.Client, err error) {
		o.Limiters.Track, err = redislimiter.New(client, "customerio-track", 100, time.Second, nil)
		if err != nil {
			return nil, err
		}
		o.Limiters.Broadcast, err = redislimiter.New(client, "customerio-broadcast", 1, 10*time.Second, nil)
		if err != nil {
			return nil, err
		}
		c, err := customerio.Open("customerio.db", &o)
		return c, err
	}
)
