package wiz

import (
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// readWindow reads one of the API's date filters: after and before, and spans
// from now backwards (inLast, beforeLast) and forwards (inNext, afterNext).
// All that are given must hold.
func readWindow(v any, now time.Time, inclusive bool) (saassim.Window, error) {
	d := saassim.Window{WithAfter: inclusive, WithBefore: inclusive}
	m, ok := v.(map[string]any)
	if !ok {
		return d, badInput("a date filter must be an object")
	}
	for _, name := range sortedKeys(m) {
		if m[name] == nil {
			continue
		}
		if name == "after" || name == "before" {
			s, _ := m[name].(string)
			t, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				return d, badInput("%s: %q is not a DateTime (ISO 8601 with a zone)", name, s)
			}
			if name == "after" {
				d.AtLeast(t)
			} else {
				d.AtMost(t)
			}
			continue
		}
		span, err := readDuration(m[name])
		if err != nil {
			return d, err
		}
		switch name {
		case "inLast":
			d.AtLeast(now.Add(-span))
			d.AtMost(now)
		case "beforeLast":
			d.AtMost(now.Add(-span))
		case "inNext":
			d.AtLeast(now)
			d.AtMost(now.Add(span))
		case "afterNext":
			d.AtLeast(now.Add(span))
		}
	}
	return d, nil
}

// units are the lengths of DurationFilterValueUnit; a month is 30 days here.
var units = map[string]time.Duration{
	"DurationFilterValueUnitMinutes": time.Minute,
	"DurationFilterValueUnitHours":   time.Hour,
	"DurationFilterValueUnitDays":    24 * time.Hour,
	"DurationFilterValueUnitWeeks":   7 * 24 * time.Hour,
	"DurationFilterValueUnitMonths":  30 * 24 * time.Hour,
}

func readDuration(v any) (time.Duration, error) {
	m, _ := v.(map[string]any)
	unit, _ := m["unit"].(string)
	length, ok := units[unit]
	if !ok {
		return 0, badInput("a duration filter needs a unit")
	}
	amount, ok := m["amount"].(int64)
	if !ok || amount < 0 {
		return 0, badInput("a duration filter needs an amount")
	}
	return time.Duration(amount) * length, nil
}

// texts reads a list of strings, or one string that stands for a list.
func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	items, _ := v.([]any)
	out := make([]string, 0, len(items))
	for _, item := range items {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func number(v any, missing int) int {
	if n, ok := v.(int64); ok {
		return int(n)
	}
	return missing
}
