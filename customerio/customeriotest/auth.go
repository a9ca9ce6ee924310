package customeriotest

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// authorized checks the credentials: basic for the Track API, a bearer token for the others.
func (s *Server) authorized(c *call) bool {
	if c.route.open {
		return true
	}
	scheme, value, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if c.route.api != Track {
		return strings.EqualFold(scheme, "Bearer") && same(value, s.o.AppKey)
	}
	return strings.EqualFold(scheme, "Basic") && same(decodeBasic(value), s.o.SiteID+":"+s.o.TrackKey)
}

// decodeBasic reads both alphabets: the SDK for Go writes the one for URLs, all others the usual
// one.
func decodeBasic(value string) string {
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		if b, err := alphabet.DecodeString(value); err == nil {
			return string(b)
		}
	}
	return ""
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
