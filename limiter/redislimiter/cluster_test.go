package redislimiter_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestCluster moves the slot of the limiter to another node of a Redis Cluster: that node may have
// forgotten, so it is quiet first, and the fleet goes on there.
func TestCluster(t *testing.T) {
	t.Parallel()
	conf := func() []string { return []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"} }
	a, b := newServer(t, conf()...), newServer(t, conf()...)
	ca, cb := a.client(), b.client()
	do(t, ca, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	host, port, _ := net.SplitHostPort(b.addr)
	do(t, ca, "CLUSTER", "MEET", host, port)
	for _, c := range []*redis.Client{ca, cb} {
		await(t, "the cluster", func() bool {
			info := do(t, c, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2")
		})
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{a.addr, b.addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { c.Close() })
	j := &judge{}
	fleet(t, j, open(t, c, 50, time.Second, nil), open(t, c, 50, time.Second, nil))
	await(t, "a full window", func() bool { return j.count() > 60 })

	key := "outbox:{test}"
	slot, err := strconv.Atoi(do(t, ca, "CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	idA, idB := do(t, ca, "CLUSTER", "MYID"), do(t, cb, "CLUSTER", "MYID")
	do(t, cb, "CLUSTER", "SETSLOT", slot, "IMPORTING", idA)
	do(t, ca, "CLUSTER", "SETSLOT", slot, "MIGRATING", idB)
	do(t, ca, "MIGRATE", host, port, key, 0, 1000)
	do(t, cb, "CLUSTER", "SETSLOT", slot, "NODE", idB)
	do(t, ca, "CLUSTER", "SETSLOT", slot, "NODE", idB)
	n := j.count()
	await(t, "starts from the other node", func() bool { return j.count() > n+60 })
	j.requireWithin(t, 50, time.Second)
}
