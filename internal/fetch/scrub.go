package fetch

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
)

const (
	mostMessage = 500 // characters kept of what an API says
	leastSecret = 4   // shorter ones would blot out ordinary text
	mostSecrets = 512 // remembered, in all forms; those added longest ago are forgotten
)

// scrubber takes secrets out of text that came from elsewhere: an API may
// repeat what it was sent.
type scrubber struct {
	mu      sync.Mutex
	secrets []string // the last added last
}

// add remembers secrets, in the forms in which a server may repeat them; of a
// secret of several lines, such as a key, each line.
func (s *scrubber) add(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range secrets {
		for line := range strings.Lines(strings.ReplaceAll(secret, `\n`, "\n")) {
			if line = strings.TrimSpace(line); line != secret && !strings.HasPrefix(line, "-----") {
				s.remember(line)
			}
		}
		s.remember(secret)
	}
	if n := len(s.secrets) - mostSecrets; n > 0 {
		s.secrets = slices.Delete(s.secrets, 0, n)
	}
}

func (s *scrubber) remember(secret string) {
	for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
		if len(form) >= leastSecret {
			s.secrets = slices.DeleteFunc(s.secrets, func(known string) bool { return known == form })
			s.secrets = append(s.secrets, form)
		}
	}
}

// text makes foreign text fit to be shown: one line, no control characters, no
// secrets, not too long.
func (s *scrubber) text(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, "\uFFFD"))
	s.mu.Lock()
	secrets := slices.Clone(s.secrets)
	s.mu.Unlock()
	// A secret may be part of another: the longest goes first.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[REDACTED]")
	}
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > mostMessage {
		text = string(runes[:mostMessage-1]) + "…"
	}
	return text
}

// cause gives err itself where its text is fit to be shown, else its text made fit.
func (s *scrubber) cause(err error) error {
	if err == nil {
		return nil
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address, which may hold anything
	}
	if clean := s.text(err.Error()); clean != err.Error() {
		return errors.New(clean)
	}
	return err
}
