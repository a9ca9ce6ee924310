module github.com/seed8107221f/outbox/sender/httpsend/sdktest

go 1.25.0

require (
	github.com/customerio/go-customerio/v3 v3.12.0
	github.com/google/uuid v1.6.0
	github.com/seed8107221f/outbox v0.0.0
)

require (
	github.com/jpillora/backoff v1.1.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace github.com/seed8107221f/outbox => ../../..
