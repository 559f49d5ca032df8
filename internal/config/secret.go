package config

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

const redacted = "[REDACTED]"

// Secret is a text that must not be seen: however it is printed, logged or
// marshalled, it is [REDACTED]. It keeps the text behind a pointer, since what
// prints unexported fields does not ask for methods.
type Secret struct{ text *string }

// NewSecret hides a text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal gives the text, for where it is used.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String hides the text.
func (s Secret) String() string { return redacted }

// Format hides the text from every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the text from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the text from whatever marshals texts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON hides the text.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalNode reads the text.
func (s *Secret) UnmarshalNode(n strictyaml.Node) {
	var text string
	n.Decode(&text)
	*s = NewSecret(text)
}
