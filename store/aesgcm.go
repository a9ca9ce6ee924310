package store

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// aesgcm is AES-256-GCM with random nonces, one for each key id. It never changes once made.
type aesgcm struct {
	current string
	keys    map[string]cipher.AEAD
}

// AESGCM returns a [Sealer] that seals by AES-256-GCM under keys of exactly 32 bytes, each named by an
// id of 1 to 255 bytes, which lies readable in what it seals. current is the id that seals; the others
// open what was sealed under them before. The keys are copied.
//
// Nonces are random, 96 bits, so that NIST SP 800-38D (section 8.3) allows a key to seal 2^32 times: an
// item counts once when it is put, and once for each failure. Go on to a new key well before that: at a
// hundred items a second in 16 months.
func AESGCM(current string, keys map[string][]byte) (Sealer, error) {
	s := &aesgcm{current: current, keys: make(map[string]cipher.AEAD, len(keys))}
	for id, key := range keys {
		if len(id) < 1 || len(id) > maxKeyID {
			return nil, fmt.Errorf("store: AESGCM: a key id of %d bytes, 1 to %d expected", len(id), maxKeyID)
		}
		if len(key) != 32 {
			return nil, fmt.Errorf("store: AESGCM: key %q has %d bytes, 32 expected", id, len(key))
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("store: AESGCM: key %q: %w", id, err)
		}
		if s.keys[id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("store: AESGCM: key %q: %w", id, err)
		}
	}
	if s.keys[current] == nil {
		return nil, fmt.Errorf("store: AESGCM: no key has the current id, %q", current)
	}
	return s, nil
}

var errNoKey = errors.New("no such key")

func (s *aesgcm) Current() string { return s.current }

func (s *aesgcm) Seal(dst []byte, id string, plain, additional []byte) ([]byte, error) {
	aead := s.keys[id]
	if aead == nil {
		return dst, errNoKey
	}
	return aead.Seal(dst, nil, plain, additional), nil
}

func (s *aesgcm) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	aead := s.keys[id]
	if aead == nil {
		return dst, errNoKey
	}
	n, err := aead.Open(dst, nil, sealed, additional)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return n, nil
}
