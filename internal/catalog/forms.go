package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// ParseDuration reads what people write: Go's durations (90s, 5m, 1h30m) and
// whole days (180d, 1d12h). It takes nothing negative.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write 30s, 5m, 24h or 180d", s)
	var days time.Duration
	rest := s
	if number, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n > 36_500 {
			return 0, bad
		}
		days, rest = time.Duration(n)*24*time.Hour, after
		if rest == "" {
			return Duration(days), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || days+d < days {
		return 0, bad
	}
	return Duration(days + d), nil
}

// String gives the shortest form that ParseDuration reads: 5m, 24h, 180d.
func (d Duration) String() string {
	const day = 24 * time.Hour
	std := d.Std()
	if std >= 2*day && std%day == 0 {
		return strconv.FormatInt(int64(std/day), 10) + "d"
	}
	s := std.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText gives String's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalNode reads a duration.
func (d *Duration) UnmarshalNode(n strictyaml.Node) {
	text, ok := scalar(n)
	if !ok {
		return
	}
	parsed, err := ParseDuration(text)
	if err != nil {
		n.Mistake("%q is not a duration; write 30s, 5m, 24h or 180d", n.Raw())
		return
	}
	*d = parsed
}

// UnmarshalNode reads an expression: a mapping, or a plain string, which is a path.
func (e *Expr) UnmarshalNode(n strictyaml.Node) {
	if n.Kind() == strictyaml.Scalar {
		if path, ok := n.Text(); ok {
			e.From = []string{path}
		}
		return
	}
	type plain Expr
	n.Decode((*plain)(e))
}

// UnmarshalNode reads a condition; see its type for the forms.
func (c *Condition) UnmarshalNode(n strictyaml.Node) {
	if n.Kind() != strictyaml.Map {
		n.Mistake("a condition must be a mapping, as in {status: [OPEN, IN_PROGRESS]}; this is %s", n.Kind())
		return
	}
	*c, _ = n.Any().(map[string]any)
}

// UnmarshalNode reads a list of paths, or one path.
func (ps *Paths) UnmarshalNode(n strictyaml.Node) {
	if n.Kind() == strictyaml.Scalar {
		if path, ok := n.Text(); ok {
			*ps = Paths{path}
		}
		return
	}
	type plain Paths
	n.Decode((*plain)(ps))
}

// The layouts of a Window that are not Go's.
const (
	layoutUnix      = "unix"
	layoutUnixMilli = "unix_ms"
)

// Format writes a moment as requests have it.
func (w *Window) Format(t time.Time) string {
	switch w.Layout {
	case layoutUnix:
		return strconv.FormatInt(t.Unix(), 10)
	case layoutUnixMilli:
		return strconv.FormatInt(t.UnixMilli(), 10)
	}
	return t.UTC().Format(w.Layout)
}

// scalar is the text of a node that has to be a single value.
func scalar(n strictyaml.Node) (string, bool) {
	if kind := n.Kind(); kind != strictyaml.Scalar {
		n.Mistake("must be a single value; this is %s", kind)
		return "", false
	}
	return n.Text()
}
