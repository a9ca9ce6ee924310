package salvage

import (
	"os"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// Looked salvages the file at path into a file that is removed, and returns how many pages it looked at.
func Looked(path string) (int64, error) {
	from, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return 0, err
	}
	w, err := newWriter(path+"-fresh", 0o600)
	if err != nil {
		return 0, err
	}
	defer w.discard()
	s := &salvager{Pager: pages.Pager{R: from, Size: info.Size()}, out: w}
	err = s.run()
	return s.Looked / s.PageSize, err
}
