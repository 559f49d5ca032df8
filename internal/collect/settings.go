package collect

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Settings are what of a feed's configuration decides which records it reads:
// its start, its filter and the requests to the product, by time and of the
// stream if it has one, each in a form that is equal when they are.
type Settings struct {
	Start   string `json:"start,omitempty"`
	Filter  string `json:"filter,omitempty"`
	Request string `json:"request,omitempty"`
	Stream  string `json:"stream,omitempty"`
}

// SettingsChange is a setting that changed while the feed had a position, and
// what that means for it.
type SettingsChange struct {
	At      time.Time `json:"at"`
	Setting string    `json:"setting"`
	Meaning string    `json:"meaning"`
}

const mostChanges = 5

// changed says what other settings than before mean for a position. Nothing is
// read again by itself: what was collected stays collected.
// whole: the feed is read whole on a schedule.
func changed(feed string, before, now Settings, p *Position, whole bool, at time.Time) []SettingsChange {
	if p.Rev == 0 {
		return nil
	}
	mark := p.Watermark.UTC().Format(time.RFC3339)
	found := map[string]string{}
	if before.Start != now.Start {
		found["start"] = fmt.Sprintf("start counts only when a feed begins, and this one has been read from %s to %s; to read from further back: trawl backfill %s --since TIME --until %s",
			p.Floor.UTC().Format(time.RFC3339), mark, feed, p.Floor.UTC().Format(time.RFC3339))
	}
	if before.Filter != now.Filter {
		found["filter"] = fmt.Sprintf("the filter holds from %s on; what was read before was chosen by the old one; to read the past with the new one: trawl feed rewind %s --to TIME", mark, feed)
		if whole {
			found["filter"] = "the filter holds from now on; the next whole reading brings what it matches, and does not tell what it no longer does"
		}
	}
	if before.Stream != now.Stream {
		found["stream"] = fmt.Sprintf("the catalogue's stream for this source has changed; records are read by time from %s on", mark)
		if now.Stream != "" {
			found["stream"] += " to the present, and from there the stream is followed"
		}
	} else if now.Stream != "" && before.Filter != now.Filter {
		found["filter"] += "; the position in the stream belongs to the old one, so a new one is taken and what lies between is read by time"
	}
	if before.Request != now.Request {
		found["request"] = fmt.Sprintf("the catalogue's request for this source has changed, and holds from %s on; records read before keep the fields they had", mark)
	}
	var changes []SettingsChange
	for _, setting := range slices.Sorted(maps.Keys(found)) {
		changes = append(changes, SettingsChange{At: at, Setting: setting, Meaning: found[setting]})
	}
	return changes
}

// compareSettings notes what changed since the feed's position was last
// written. The settings are stored with the next one.
func (f *Feed) compareSettings() {
	l := f.live
	before := l.saved.Settings
	for _, lane := range f.all() {
		lane.saved.Settings = f.opts.Settings
	}
	if before == (Settings{}) {
		return
	}
	changes := changed(f.opts.Feed.String(), before, f.opts.Settings, &f.main().pos, f.snapshot != nil, f.now().UTC())
	for _, c := range changes {
		f.log.Warn("a setting of the feed changed", "setting", c.Setting, "meaning", c.Meaning)
	}
	l.saved.Changes = append(l.saved.Changes, changes...)
	if n := len(l.saved.Changes); n > mostChanges {
		l.saved.Changes = slices.Delete(l.saved.Changes, 0, n-mostChanges)
	}
	f.status.Changes = slices.Clone(l.saved.Changes)
}
