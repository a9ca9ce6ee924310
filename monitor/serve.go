package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// maxPath is the longest path of a socket, in bytes: what every system takes.
const maxPath = 104

// Serve answers on a unix socket that only this user may open, until ctx ends: best beside the
// file, at b.Path()+".sock", where the command looks for it. A process that can open the socket may
// do what h allows; a [Monitor] for it has an Allow of its own. It replaces a socket that nobody
// answers on, and refuses one that somebody does, or a path that is something else. A path above
// 104 bytes is an error, since systems do not take it.
//
// When ctx ends, streams end, other requests have five seconds, and the socket is removed. It
// returns nil then, and otherwise why it could not listen or serve.
func Serve(ctx context.Context, path string, h http.Handler) error {
	l, err := listen(path)
	if err != nil {
		return fmt.Errorf("monitor: serve: %w", err)
	}
	mine, _ := os.Lstat(path)
	defer func() {
		if now, err := os.Lstat(path); err == nil && mine != nil && os.SameFile(mine, now) {
			os.Remove(path) // its error: the next Serve finds that nobody answers
		}
	}()
	base := context.WithValue(context.WithoutCancel(ctx), endingKey{}, ctx)
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return base }}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("monitor: serve: %s: %w", path, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(base, 5*time.Second)
	defer cancel()
	if s.Shutdown(grace) != nil {
		s.Close() // its error: the listener is closed already
	}
	<-served
	return nil
}

// listen makes the socket where nobody else can reach it before only this user may open it. A crash
// on the way leaves an empty directory.
func listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the path of the socket has %d bytes, at most %d: %s", len(path), maxPath, path)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // of mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	if len(made) > maxPath {
		return nil, fmt.Errorf("the path of the socket's directory leaves no room: %s has %d bytes, at most %d", made, len(made), maxPath)
	}
	l, err := net.Listen("unix", made)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// vacant returns nil if there is nothing at path, or a socket that nobody answers on.
func vacant(path string) error {
	at, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if at.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there, and is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("somebody answers on %s", path), c.Close())
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("somebody has %s, and does not answer: %w", path, err)
	}
	return nil
}
