package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// childVariable holds the spec, as JSON, of a process that is a child.
const childVariable = "OUTBOX_BENCH_CHILD"

// operations are what a child can do.
var operations = map[string]func(spec) (metrics, error){
	"put":        putOp,
	"bulk":       bulkOp,
	"fill":       fillOp,
	"drain":      drainOp,
	"trace":      traceOp,
	"e2e":        e2eOp,
	"look":       lookOp,
	"drainlive":  drainLiveOp,
	"first":      firstOp,
	"reopen":     reopenOp,
	"victim":     victimOp,
	"wake":       wakeOp,
	"idle":       idleOp,
	"pace":       paceOp,
	"customerio": customerioOp,
	"bytes":      bytesOp,
	"fair":       fairOp,
}

// isChild does what the spec in the environment says, if there is one, and writes its metrics to
// standard output.
func isChild() bool {
	env, ok := os.LookupEnv(childVariable)
	if !ok {
		return false
	}
	m, err := do([]byte(env))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func do(order []byte) (metrics, error) {
	var s spec
	if err := json.Unmarshal(order, &s); err != nil {
		return nil, err
	}
	op, ok := operations[s.Op]
	if !ok {
		return nil, fmt.Errorf("no operation %q", s.Op)
	}
	return profiled(s, op)
}

// child prepares a process that does s, as an argument of the words in under, if any.
func child(ctx context.Context, s spec, under ...string) (*exec.Cmd, *bytes.Buffer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	env, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	words := append(under, exe)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+string(env))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr, nil
}

// run has a process of its own do s.
func run(ctx context.Context, s spec, under ...string) (metrics, error) {
	cmd, stderr, err := child(ctx, s, under...)
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w: %s", s.Op, s.Peer, err, strings.TrimSpace(stderr.String()))
	}
	var m metrics
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("%s of %s: its answer: %w", s.Op, s.Peer, err)
	}
	return m, nil
}
