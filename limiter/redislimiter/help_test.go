package redislimiter

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisForTest starts a redis-server; the external tests set it.
var RedisForTest func(t testing.TB) *redis.Client

func redisOf(t testing.TB) *redis.Client { return RedisForTest(t) }
