package main

import (
	"io"
	"net/http"
	"sync"
)

// memory is a RoundTripper that asks a handler in this process. The answer is streamed.
type memory struct{ handler http.Handler }

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	body, answer := io.Pipe()
	w := &memoryWriter{answer: answer, header: make(http.Header), begun: make(chan struct{})}
	req = req.Clone(req.Context())
	if req.Body == nil {
		req.Body = http.NoBody
	}
	// The goroutine ends with the answer, or when its reader closes the body.
	go func() {
		defer func() {
			var err error
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					panic(p)
				}
				err = io.ErrUnexpectedEOF
			}
			w.WriteHeader(http.StatusOK)
			answer.CloseWithError(err)
		}()
		m.handler.ServeHTTP(w, req)
	}()
	select {
	case <-w.begun:
	case <-req.Context().Done():
		body.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
	return &http.Response{Status: http.StatusText(w.status), StatusCode: w.status, Header: w.sent, Body: body, Request: req}, nil
}

type memoryWriter struct {
	answer *io.PipeWriter
	header http.Header
	once   sync.Once
	begun  chan struct{} // closed when status and sent are set
	status int
	sent   http.Header
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.answer.Write(p)
}
