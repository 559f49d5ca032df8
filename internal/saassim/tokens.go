package saassim

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"time"
)

// Grant is what a token entitles to.
type Grant struct {
	Subject string   // on whose behalf; what that means is the product's
	Scopes  []string // nil: the product has none
}

type token struct {
	Grant
	expires time.Time // zero: never
	kept    bool      // it was not given out at sign-in, so it is not revoked with the others
}

type tokenStore struct {
	mu    sync.Mutex
	dice  Dice
	known map[string]token
}

func newTokenStore(seed uint64) *tokenStore {
	return &tokenStore{dice: NewDice(seed, 2), known: map[string]token{}}
}

// Noise is so many random bytes, for what looks secret.
func (t *Tenant) Noise(n int) []byte {
	s := t.tokens
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.dice.Uint32())
	}
	return b
}

// NoiseText is random bytes as hexadecimal text.
func (t *Tenant) NoiseText(n int) string { return hex.EncodeToString(t.Noise(n)) }

// JWT makes a token in the form of a signed one; its signature is noise.
func (t *Tenant) JWT(header, claims map[string]any) string {
	enc := base64.RawURLEncoding
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // only values built by the products come here
		}
		return enc.EncodeToString(b)
	}
	return part(header) + "." + part(claims) + "." + enc.EncodeToString(t.Noise(256))
}

// AllowToken lets a token be used for a time from now on. One that is to last
// (a lifetime of zero) is as if somebody had made it by hand: RevokeTokens
// leaves it alone.
func (t *Tenant) AllowToken(text string, g Grant, lifetime time.Duration) {
	s, now := t.tokens, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, known := range s.known {
		if !known.kept && now.After(known.expires.Add(time.Hour)) { // long enough past to be told apart from an unknown one no more
			delete(s.known, old)
		}
	}
	if lifetime == 0 {
		s.known[text] = token{Grant: g, kept: true}
		return
	}
	s.known[text] = token{Grant: g, expires: now.Add(lifetime)}
}

func (s *tokenStore) revokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, known := range s.known {
		if !known.kept {
			delete(s.known, text)
		}
	}
}

// Authorize looks at the request's token, which stands in the Authorization
// header behind a scheme, and notes what it is worth (Entry.Auth) and what it
// entitles to (Grant).
func (c *Call) Authorize(scheme string) {
	c.Grant, c.Entry.Auth = c.T.tokens.check(c.R.Header.Get("Authorization"), scheme, c.Entry.Time)
}

func (s *tokenStore) check(header, scheme string, now time.Time) (Grant, string) {
	given, value, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(given, scheme) {
		return Grant{}, AuthMissing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t, known := s.known[value]; {
	case !known:
		return Grant{}, AuthUnknown
	case !t.kept && !now.Before(t.expires):
		return Grant{}, AuthExpired
	default:
		return t.Grant, AuthOK
	}
}

// Same compares secrets.
func Same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
