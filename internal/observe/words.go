package observe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// words says the differences between what was seen and what is documented.
func (r *FeedReport) words() []string {
	words := []string{}
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	for _, n := range r.Notes {
		say("%s: %s", n.At.UTC().Format(time.RFC3339), n.Text)
	}
	if r.Records == 0 {
		say("Nothing was seen yet.")
		return words
	}
	if !r.Placed {
		say("The catalogue gives %s no place in the matrix, which is about activity; its records are only counted.", r.Source)
	}
	for _, d := range r.Dark {
		pause := "without a pause"
		if d.Pause > 0 {
			pause = "never with a pause of more than " + plural(d.Pause, "day")
		}
		say("Gone dark: %s, since %s: it was seen on %d of the %d days before, %s, and not in the %d days since.",
			d.EventType, d.Since.Format(time.DateOnly), d.SeenOn, keptDays, pause, d.SilentFor)
	}
	if len(r.NeverSeen) > 0 {
		say("Documented but never seen here: %s.", strings.Join(r.NeverSeen, ", "))
	}
	if len(r.NotDocumented) > 0 {
		say("Seen but not documented: %s.", strings.Join(r.NotDocumented, ", "))
	}
	if r.Placed && r.Unlisted > 0 {
		var kinds []string
		for _, k := range r.Kinds[:min(8, len(r.Kinds))] {
			kinds = append(kinds, fmt.Sprintf("%s (%d)", k.Value, k.Count))
		}
		more := ""
		if len(r.Kinds) > 8 || r.Others > 0 {
			more = " and others"
		}
		say("Without a place in the matrix: %d of %d records: %s%s.", r.Unlisted, r.Records, strings.Join(kinds, ", "), more)
	}
	r.emptyWords(say)
	r.latenessWords(say)
	r.retentionWords(say)
	if r.Timeless > 0 {
		say("Without a time, or with one that can't be: %s.", plural(r.Timeless, "record"))
	}
	return words
}

// emptyWords names attributes that are documented and that no record fills:
// first those of every event type that should have them.
func (r *FeedReport) emptyWords(say func(string, ...any)) {
	should, lacks := map[string]int{}, map[string]int{}
	for _, t := range r.Types {
		for _, a := range t.Attributes {
			if a.Documented {
				should[a.Key]++
			}
		}
		for _, key := range t.Empty {
			lacks[key]++
		}
	}
	everywhere := func(key string) bool { return should[key] > 1 && lacks[key] == should[key] }
	var always []string
	for _, key := range attributes() {
		if everywhere(key) {
			always = append(always, key)
		}
	}
	if len(always) > 0 {
		say("Empty here, whatever the event type: %s.", strings.Join(always, ", "))
	}
	for _, t := range r.Types {
		if rest := slices.DeleteFunc(slices.Clone(t.Empty), everywhere); len(rest) > 0 {
			say("Empty in all records of %s (%d): %s.", t.EventType, t.Count, strings.Join(rest, ", "))
		}
	}
}

func plural[N int | int64](n N, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// roughly is a duration for people, in one or two units.
func roughly(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d >= 2*day:
		return fmt.Sprintf("%d days", (d+day/2)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", (d+time.Hour/2)/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", (d+time.Minute/2)/time.Minute)
	}
	return fmt.Sprintf("%.1f seconds", d.Seconds())
}

// brief is roughly for a narrow place.
func brief(d time.Duration) string {
	return strings.NewReplacer(" days", " d", " hours", " h", " minutes", " min", " seconds", " s").Replace(roughly(d))
}
