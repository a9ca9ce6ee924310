module github.com/seed8107221f/outbox/examples/fleet

go 1.25.0

replace (
	github.com/seed8107221f/outbox => ../..
	github.com/seed8107221f/outbox/limiter/redislimiter => ../../limiter/redislimiter
)

require (
	github.com/redis/go-redis/v9 v9.17.3
	github.com/seed8107221f/outbox v0.0.0
	github.com/seed8107221f/outbox/limiter/redislimiter v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jpillora/backoff v1.1.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)
