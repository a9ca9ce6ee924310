package sender

// A worker is a goroutine that does one request after another: those that the loop, and nobody else,
// sends on this channel, until the loop closes it. It is kept, because a new one for each request, with
// a stack that Claim makes grow, costs a third more in a drain with a free transport.
type worker chan *request

// mostResting bounds the workers that are kept while they have nothing to do.
const mostResting = 16

// give has a worker do a request, with the baton: the one that was busy last, or else a new one.
func (l *loop) give(r *request) {
	if last := len(l.resting) - 1; last >= 0 {
		r.worker = l.resting[last]
		l.resting = l.resting[:last]
	} else {
		r.worker = make(worker, 1)
		go l.work(r.worker)
	}
	l.bearer = r
	r.worker <- r
}

// rest takes back a worker that has done its request, or is about to return from it.
func (l *loop) rest(w worker) {
	if len(l.resting) >= mostResting {
		close(w)
		return
	}
	l.resting = append(l.resting, w)
}

// dismiss ends all workers; those that are busy end when their call returns.
func (l *loop) dismiss() {
	for _, w := range l.resting {
		close(w)
	}
	for _, r := range l.flight {
		close(r.worker)
	}
	if l.bearer != nil {
		close(l.bearer.worker)
	}
}

// work does what w is given. A transport that ends the goroutine does not end the worker.
func (l *loop) work(w worker) {
	dismissed := false
	defer func() {
		if !dismissed {
			go l.work(w)
		}
	}()
	for r := range w {
		l.do(r)
	}
	dismissed = true
}
