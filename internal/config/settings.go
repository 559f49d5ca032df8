package config

import (
	"log/slog"
	"slices"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Settings are a connection's settings. They are kept as they stand in the
// file, and what they refer to is read at each use, so that a secret whose file
// changes is picked up.
type Settings struct {
	known  map[string]catalog.Setting
	values map[string]settingValue
	expand func(text string) (string, error)
}

// settingValue is one setting as it stands in the file.
type settingValue struct {
	text Secret             // of a single value
	form map[string]rawText // the entries of a map
	kind strictyaml.Kind
}

// UnmarshalNode keeps the texts as they are.
func (v *settingValue) UnmarshalNode(n strictyaml.Node) {
	v.kind = n.Kind()
	switch v.kind {
	case strictyaml.Scalar:
		v.text = NewSecret(n.Raw())
	case strictyaml.Map:
		n.Decode(&v.form)
	}
}

// rawText is a single value as it stands in the file.
type rawText struct{ Secret }

// UnmarshalNode keeps the text as it is.
func (t *rawText) UnmarshalNode(n strictyaml.Node) {
	if kind := n.Kind(); kind != strictyaml.Scalar {
		n.Mistake("must be a single value; this is %s", kind)
		return
	}
	t.Secret = NewSecret(n.Raw())
}

// Get gives a setting's value: the file's, with what it refers to read now, or
// the product's default. ok is false where there is neither. An error says what
// could not be read.
func (s *Settings) Get(name string) (value string, ok bool, err error) {
	set, ok := s.values[name]
	if !ok || set.kind != strictyaml.Scalar {
		def := s.known[name].Default
		return def, def != "", nil
	}
	value, err = s.expand(set.text.Reveal())
	return value, err == nil, err
}

// Map gives a setting that is a map, nil where it is absent. An entry that can
// no longer be read is left out.
func (s *Settings) Map(name string) map[string]string {
	set, ok := s.values[name]
	if !ok || len(set.form) == 0 {
		return nil
	}
	entries := make(map[string]string, len(set.form))
	for key, text := range set.form {
		if value, err := s.expand(text.Reveal()); err == nil {
			entries[key] = value
		}
	}
	return entries
}

// Names are the settings that the file sets, in order.
func (s *Settings) Names() []string {
	var names []string
	for name, v := range s.values {
		if v.kind != strictyaml.Null {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// String hides the values.
func (s *Settings) String() string { return redacted }

// LogValue hides the values from logs.
func (s *Settings) LogValue() slog.Value { return slog.StringValue(redacted) }
