package customeriotest

import (
	"encoding/json"
	"net/http"
)

// v2Batch accepts the valid operations of a batch and answers with a refusal for each other one.
func v2Batch(s *Server, c *call) answer {
	if n, limit := len(c.body), s.o.Sizes.Batch; n > limit {
		return s.refuse(c, oversize(s.o.Open.OversizeStatus, "batch", n, limit))
	}
	f, p := parse("", c.body)
	if p != nil {
		return s.refuse(c, p)
	}
	var batch []json.RawMessage
	if p := f.list("batch", &batch); p != nil {
		return s.refuse(c, p)
	}
	if len(batch) == 0 {
		return s.refuse(c, required("batch"))
	}
	if n, limit := len(batch), s.o.Open.BatchItems; limit > 0 && n > limit {
		return s.refuse(c, invalid("batch", "has %d operations, %d are allowed", n, limit))
	}
	valid := make([]*Operation, len(batch)) // nil: refused
	var refused []Refusal
	for i, raw := range batch {
		op, p := s.batchItem(c, raw)
		if p == nil {
			if p := poisoned(c, op); p != nil {
				return s.refuse(c, p)
			}
			p = chosen(c, op)
		}
		if p != nil {
			p.Index = &i
			refused = append(refused, p.Refusal)
			continue
		}
		valid[i] = &op
	}
	s.accept(c, valid...)
	for _, r := range refused {
		s.count(http.StatusMultiStatus, r.Reason)
	}
	if rewrite := c.faults.Rewrite; rewrite != nil {
		refused = rewrite(len(batch), refused)
	}
	if len(refused) == 0 {
		return ok(struct{}{})
	}
	return answer{status: http.StatusMultiStatus, body: encode(object{"errors": refused})}
}

func (s *Server) batchItem(c *call, raw []byte) (Operation, *problem) {
	if n, limit := len(raw), s.o.Sizes.Entity; n > limit {
		return Operation{}, oversize(http.StatusMultiStatus, "", n, limit)
	}
	return s.entity(c, raw)
}
