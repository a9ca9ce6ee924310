package redislimiter_test

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter/redislimiter"
)

// shared holds the Go block of docs/scale.md that needs a Redis.
func shared(client redis.UniversalClient) (*redislimiter.Limiter, error) {
	l, err := redislimiter.New(client, "customerio-track", 100, time.Second, nil)
	return l, err
}

var _ = shared
