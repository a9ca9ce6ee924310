package customerio_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio"
)

// A rate that is no finite number is an error of Open that names ImportRate, before there is a file.
func TestImportRateIsFinite(t *testing.T) {
	for want, rate := range map[string]float64{
		"ImportRate is +Inf": math.Inf(1),
		"ImportRate is -Inf": math.Inf(-1),
		"ImportRate is NaN":  math.NaN(),
	} {
		path := filepath.Join(t.TempDir(), "refused.db")
		_, err := customerio.Open(path, &customerio.Options{SiteID: "site", TrackKey: "track-key", ImportRate: rate})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: there is a file: %v", want, err)
		}
	}
}
