package loopback

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Only()
	os.Exit(m.Run())
}

func TestOnly(t *testing.T) {
	// An address for documentation (RFC 5737), and a name that nobody has (RFC 2606).
	for _, url := range []string{"http://192.0.2.1/", "http://outbox.invalid/"} {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "only loopback addresses are allowed") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
