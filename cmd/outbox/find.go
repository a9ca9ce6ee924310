package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// minPrefix is how many characters of an ID are enough, if no other event begins with them.
const minPrefix = 8

// find returns the event with that ID, or whose ID begins so, and the text of the answer.
func (cl *client) find(ctx context.Context, lane, id string) (e event, text []byte, err error) {
	r := ref{ID: id}
	if _, err := uuid.Parse(id); err != nil {
		if r, err = cl.unique(ctx, lane, strings.ToLower(id)); err != nil {
			return e, nil, err
		}
	}
	at := ""
	if r.At > 0 {
		at = fmt.Sprint(r.At)
	}
	text, err = cl.get(ctx, &e, "lane", lane, "item", r.ID, "at", at)
	if isRefusal(err, "not_found") {
		err = fail(exitNotFound, "lane %s has no event %s; it was delivered, perhaps", lane, r.ID)
	}
	return e, text, err
}

// unique finds the one event whose ID begins so.
func (cl *client) unique(ctx context.Context, lane, prefix string) (found ref, err error) {
	if !looksLikeID(prefix) {
		return found, fail(exitUsage, "%q is neither an ID nor the first %d characters of one, or more", prefix, minPrefix)
	}
	all := make(map[ref]bool)
	for _, state := range everywhere {
		_, _, _, err := cl.each(ctx, lane, &filter{state: state, id: prefix}, 0, func(e *event, _ []byte) error {
			if strings.HasPrefix(e.ID, prefix) { // one that cannot be read is always listed
				found = ref{e.At, e.ID}
				all[found] = true
			}
			return nil
		})
		if err != nil {
			return found, err
		}
	}
	switch len(all) {
	case 0:
		return found, fail(exitNotFound, "lane %s has no event whose ID begins with %s; it was delivered, perhaps", lane, prefix)
	case 1:
		return found, nil
	}
	var ids []string
	for r := range all {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	text := ""
	for _, id := range ids[:min(len(ids), 10)] {
		text += "\n  " + id
	}
	if more := len(ids) - 10; more > 0 {
		text += "\n  … and " + count(more) + " more"
	}
	return found, fail(exitUsage, "the IDs of %d events begin with %s: give more of it%s", len(all), prefix, text)
}
