package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

type peerVersion struct {
	peers.Peer
	version string
}

// versions tells which version of each peer is built in.
func versions() []peerVersion {
	built := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			built[m.Path] = m.Version
			if m.Replace != nil {
				built[m.Path] = "this one"
			}
		}
	}
	var all []peerVersion
	for _, p := range peers.All() {
		all = append(all, peerVersion{p, built[p.Module]})
	}
	return all
}

// facts says on what it was measured.
func facts(dir string, s scale) []string {
	all := []string{
		fmt.Sprintf("%s, %s/%s, %d cores", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
	}
	all = append(all, systemFacts(dir)...)
	return append(all, fmt.Sprintf("%s of %v", counted(s.rounds, "round"), s.duration))
}
