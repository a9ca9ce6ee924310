package monitor_test

import "testing"

// A body is one document. What follows it would be left undone without a word.
func TestBodyWithTwoDocuments(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	for _, body := range []string{`{"do":"resume"}{"do":"pause"}`, `{"do":"resume"} x`} {
		if w := p.post("?lane=track", body); w.Code != 400 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := p.post("?lane=track", "{\"do\":\"resume\"}\n \n"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
