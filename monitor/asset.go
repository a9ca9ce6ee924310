package monitor

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
)

//go:embed assets/style.css assets/script.js assets/*.html
var files embed.FS

// An asset is a file that pages refer to. Its address has a hash of it, so that it is kept for a
// year.
type asset struct {
	body []byte
	kind string
	link string
}

var assets = map[string]asset{
	"style.css": newAsset("style.css", "text/css; charset=utf-8"),
	"script.js": newAsset("script.js", "text/javascript; charset=utf-8"),
}

func newAsset(name, kind string) asset {
	body, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(body)
	return asset{body, kind, link("asset", name, "h", hex.EncodeToString(sum[:8]))}
}

// asset answers with an asset. It says nothing about lanes, so also a person who is refused may see
// it.
func (q *request) asset(name string) error {
	a, ok := assets[name]
	if !ok {
		return refuse(http.StatusNotFound, "not_found", "there is no asset %q", visible(cut(name, 100)))
	}
	h := q.w.Header()
	h.Set("Content-Type", a.kind)
	if link("asset", name, "h", q.query.Get("h")) == a.link {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	q.w.Write(a.body) // its error: nobody reads any more
	return nil
}
