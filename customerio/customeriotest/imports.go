package customeriotest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// importStates are those that an import goes through, each look at it taking it one further; the
// last is Options.ImportEnd.
var importStates = []string{"preprocessing", "preprocessed", "validating", "validated", "importing"}

// An importJob is an import that was started. Guarded by Server.mu.
type importJob struct {
	name, kind string
	created    int64 // seconds since 1970
	looks      int   // at its state
}

// show returns the import as the service writes it.
func (j *importJob) show(id int, end string) answer {
	state := end
	if j.looks < len(importStates) {
		state = importStates[j.looks]
	}
	return ok(object{"import": object{"id": id, "name": j.name, "type": j.kind, "state": state, "created_at": j.created}})
}

// startImport handles the call that has the service fetch a file. Nothing is fetched.
func startImport(s *Server, c *call) answer {
	op := c.operation("import", "start")
	job := &importJob{created: c.at.Unix()}
	f, p := parse("", c.body)
	if p == nil {
		f, p = f.needChild("import")
	}
	if p == nil {
		p = job.read(f)
	}
	if p != nil {
		p.status = http.StatusUnprocessableEntity
		return s.refuse(c, p)
	}
	op.Name = job.name
	s.accept(c, &op)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imports = append(s.imports, job)
	return job.show(len(s.imports), s.o.ImportEnd)
}

func (j *importJob) read(f fields) (p *problem) {
	if j.name, p = f.needText("name"); p != nil {
		return p
	}
	if p := checkURL(f, "data_file_url"); p != nil {
		return p
	}
	if j.kind, p = f.needText("type"); p != nil {
		return p
	}
	if !slices.Contains([]string{"people", "event", "object", "relationship"}, j.kind) {
		return invalid("type", "must be people, event, object or relationship, not %.40q", j.kind)
	}
	if j.kind == "object" && !f.has("object_type_id") {
		return required("object_type_id")
	}
	if j.kind == "people" || j.kind == "event" {
		_, p = f.needText("identifier")
	}
	return p
}

// showImport handles a look at an import.
func showImport(s *Server, c *call) answer {
	id, err := strconv.Atoi(c.args[0])
	s.mu.Lock()
	if err == nil && id >= 1 && id <= len(s.imports) {
		defer s.mu.Unlock()
		j := s.imports[id-1]
		j.looks++
		return j.show(id, s.o.ImportEnd)
	}
	s.mu.Unlock()
	return s.refuse(c, &problem{http.StatusNotFound, Refusal{Reason: "path", Message: fmt.Sprintf("there is no import %q", c.args[0])}})
}

// nothing handles a query whose answer is always an empty list.
func nothing(list string) func(*Server, *call) answer {
	return func(*Server, *call) answer { return ok(object{list: []object{}}) }
}

// showAttributes handles the query for the attributes of a person.
func showAttributes(s *Server, c *call) answer {
	attributes := s.Attributes(c.args[0])
	if attributes == nil {
		return s.refuse(c, &problem{http.StatusNotFound, Refusal{Reason: "path", Message: fmt.Sprintf("there is no customer %q", c.args[0])}})
	}
	return ok(object{"customer": object{"id": c.args[0], "attributes": attributes}})
}
