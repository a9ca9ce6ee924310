package sender

// A worker is a goroutine that does one request after another. The loop alone sends requests on
// this channel, and closes it. Workers are kept between requests, because net/http and Claim grow
// the stack of each new goroutine: without that a delivery over HTTP costs about a tenth more CPU.
type worker chan *request

// mostResting bounds the workers that are kept without a request.
const mostResting = 16

// give hands a request and the baton to the worker that was busy last, or to a new one.
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

// rest takes back a worker that has reported the end of its request.
func (l *loop) rest(w worker) {
	if len(l.resting) >= mostResting {
		close(w)
		return
	}
	l.resting = append(l.resting, w)
}

// dismiss ends all workers. A busy worker ends when its call returns.
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

// work does the requests of w. If a transport ends the goroutine, another one continues.
func (l *loop) work(w worker) {
	dismissed := false
	defer func() {
		if !dismissed {
			go l.work(w)
		}
	}()
	for r := range w {
		l.serve(r)
	}
	dismissed = true
}
