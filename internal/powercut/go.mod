module github.com/seed8107221f/outbox/internal/powercut

go 1.25.0

replace github.com/seed8107221f/outbox => ../..

require (
	github.com/google/uuid v1.6.0
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/seed8107221f/outbox v0.0.0
)

require (
	github.com/jpillora/backoff v1.1.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
)
