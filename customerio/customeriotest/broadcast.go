package customeriotest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// maxTargets is how many ids, or how much data per person, one broadcast may name.
const maxTargets = 10_000

// trigger handles the triggering of a broadcast. Any number is a broadcast that exists.
func trigger(s *Server, c *call) answer {
	op := c.operation("broadcast", "trigger")
	op.Name = c.args[0]
	if _, err := strconv.ParseUint(op.Name, 10, 64); err != nil {
		return s.refuse(c, &problem{http.StatusNotFound, Refusal{Reason: "path", Message: "there is no broadcast " + strconv.Quote(op.Name)}})
	}
	f, p := parse("", c.body)
	if p == nil {
		op.Attributes, p = f.values("data")
	}
	if p == nil {
		p = checkTrigger(f)
	}
	if p != nil {
		p.status = http.StatusUnprocessableEntity
		return s.refuse(c, p)
	}
	s.accept(c, &op)
	return ok(object{"id": c.number})
}

// checkTrigger wants at most one audience, and nothing unknown.
func checkTrigger(f fields) *problem {
	audience := ""
	for key := range f {
		switch key {
		case "data", "id_ignore_missing", "email_ignore_missing", "email_add_duplicates":
		case "recipients", "ids", "emails", "per_user_data", "data_file_url":
			if audience != "" {
				return invalid(key, "is a second audience beside %s, one is allowed", audience)
			}
			audience = key
		default:
			return invalid(key, "is unknown")
		}
	}
	switch audience {
	case "recipients":
		filter, p := f.needChild(audience)
		if p == nil && len(filter) == 0 {
			p = invalid(audience, "must not be empty")
		}
		return p
	case "ids", "emails", "per_user_data":
		var list []json.RawMessage
		if p := f.list(audience, &list); p != nil {
			return p
		}
		if n := len(list); n > maxTargets && audience != "emails" {
			return invalid(audience, "are %d, %d are allowed", n, maxTargets)
		}
	case "data_file_url":
		return checkURL(f, audience)
	}
	return nil
}

// checkURL wants an address that the service could fetch.
func checkURL(f fields, key string) *problem {
	url, p := f.needText(key)
	if p == nil && !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
		p = invalid(key, "must begin with https:// or http://")
	}
	return p
}
