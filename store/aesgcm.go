package store

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// aesgcm seals by AES-256-GCM with random nonces, with one cipher for each key id. It never
// changes.
type aesgcm struct {
	current string
	keys    map[string]cipher.AEAD
}

// AESGCM returns a [Sealer] that uses AES-256-GCM. keys maps a key id of 1 to 255 bytes to a key of
// exactly 32 bytes. current is the id of the key that seals; the other keys open what they have
// sealed before. Sealed records contain the key id in plain text. AESGCM copies the keys.
//
// Nonces are random and have 96 bits. NIST SP 800-38D (section 8.3) therefore allows 2^32 seals
// with one key. An item needs one seal when it is stored and one for each failure. At a hundred
// items a second that is 16 months: change to a new key well before.
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

var errNoKey = errors.New("the key is missing")

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
