module github.com/seed8107221f/outbox/cmd/outbox

go 1.26.0

replace github.com/seed8107221f/outbox => ../..

require (
	github.com/google/uuid v1.6.0
	github.com/seed8107221f/outbox v0.0.0
	github.com/spf13/cobra v1.10.2
	go.etcd.io/bbolt v1.5.0
	golang.org/x/term v0.48.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jpillora/backoff v1.1.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)
