module github.com/seed8107221f/outbox

go 1.25.0

require (
	github.com/google/uuid v1.6.0
	github.com/jpillora/backoff v1.1.0
	go.etcd.io/bbolt v1.5.0
	golang.org/x/time v0.15.0
)

require golang.org/x/sys v0.45.0 // indirect
