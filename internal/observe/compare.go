package observe

import (
	"math"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
)

// Difference says how what was measured differs from what is documented; ""
// where either is not known.
type Difference string

// What there can be between what was measured and what is documented.
const (
	Same     Difference = "none"      // it is as documented, or better
	Later    Difference = "later"     // records become visible later
	Unclear  Difference = "unclear"   // they are seen later, but it may be the way in which that is measured
	Less     Difference = "less"      // the product answers less far back
	NotTried Difference = "not tried" // it was not asked for records as old as documented
)

// Lateness says how long after their event time records became visible, beside
// what the vendor says of it. It has the wait for the feed's next round in it.
type Lateness struct {
	Records        int64         `json:"records"` // of which it is known
	P50            time.Duration `json:"p50_ns"`
	P99            time.Duration `json:"p99_ns"`
	Most           time.Duration `json:"most_ns"`
	Documented     time.Duration `json:"documented_ns"` // all should be visible by then; 0: no time is documented
	DocumentedText string        `json:"documented,omitempty"`
	Difference     Difference    `json:"difference,omitempty"`
}

// Retention says how far back the product answered, beside what is documented.
type Retention struct {
	Reach          time.Duration `json:"reach_ns"`      // how old the oldest record was when the product answered with it
	Asked          time.Duration `json:"asked_ns"`      // how far back the product was asked
	Documented     time.Duration `json:"documented_ns"` // 0: it is not
	DocumentedText string        `json:"documented,omitempty"`
	Difference     Difference    `json:"difference,omitempty"`
}

// makeLateness compares what was measured of records of a feed that is read each
// interval. The 99th percentile counts, and it is later only where neither the
// wait for the next round nor the steps of the histogram can be why.
func makeLateness(l *collect.Lateness, s *catalog.Source, interval time.Duration) Lateness {
	made := Lateness{
		Records: l.Count(), P50: l.Quantile(0.5), P99: l.Quantile(0.99), Most: l.Most,
		Documented: s.Facts.VisibleWithin.Std(), DocumentedText: said(s.Facts.Latency),
	}
	switch least := time.Duration(float64(made.P99)/math.Sqrt2) - interval; {
	case made.Records == 0 || made.Documented == 0:
	case made.P99 <= made.Documented:
		made.Difference = Same
	case least > made.Documented:
		made.Difference = Later
	default:
		made.Difference = Unclear
	}
	return made
}

// reachShare is how much of the documented retention is as good as all of it.
const reachShare = 0.9

func makeRetention(read Read, s *catalog.Source) Retention {
	made := Retention{Reach: read.Reach, Asked: read.Asked, DocumentedText: said(s.Facts.Retention)}
	if made.DocumentedText != "" {
		made.Documented = s.Window.Retention.Std()
	}
	least := time.Duration(reachShare * float64(made.Documented))
	switch {
	case made.Documented == 0 || made.Asked == 0:
	case made.Asked < made.Documented-24*time.Hour || made.Asked < least: // a start at the limit of retention is cut to it, so a little less is as good
		made.Difference = NotTried
	case made.Reach >= least:
		made.Difference = Same
	default:
		made.Difference = Less
	}
	return made
}

// said is what the vendor says; "" where the catalogue tells that it says nothing.
func said(fact string) string {
	if fact == "not documented" {
		return ""
	}
	return fact
}

func (r *FeedReport) latenessWords(say func(string, ...any)) {
	l := r.Lateness
	documented := "how late they may be is not documented"
	switch {
	case l.Documented > 0:
		documented = "documented are " + roughly(l.Documented)
		if l.Difference == Unclear {
			documented += ", and the wait for the next round may be the rest"
		}
	case l.DocumentedText != "" && !strings.HasPrefix(l.DocumentedText, "not documented"):
		documented = "documented: " + l.DocumentedText
	}
	switch {
	case l.Records == 0:
		return
	case l.Difference == Later && l.Records > 1:
		say("Later than documented: records become visible after %s (p99; p50 is %s), %s.", roughly(l.P99), roughly(l.P50), documented)
	case l.Records == 1:
		say("Late: one record was seen within %s; %s.", roughly(l.Most), documented)
	case l.Records < 100:
		say("Late: half of %d records were seen within %s, all within %s; %s.", l.Records, roughly(l.P50), roughly(l.Most), documented)
	default:
		say("Late: half of %d records were seen within %s, all but one in a hundred within %s; %s.", l.Records, roughly(l.P50), roughly(l.P99), documented)
	}
}

func (r *FeedReport) retentionWords(say func(string, ...any)) {
	kept := r.Retention
	switch {
	case kept.Reach == 0: // nothing was read by time, or it is not about activity
	case kept.Documented == 0:
		say("Kept: the oldest record was %s old when the product answered with it; how long it keeps them is not documented.", roughly(kept.Reach))
	case kept.Difference == NotTried:
		say("Kept: not tried; the product was asked for the last %s, and is documented to keep %s. A backfill would tell.", roughly(kept.Asked), roughly(kept.Documented))
	case kept.Difference == Same:
		say("Kept: as documented (%s); the oldest record was %s old when the product answered with it.", roughly(kept.Documented), roughly(kept.Reach))
	default:
		say("Kept: documented are %s, but the oldest record was %s old when the product answered with it; or nothing happened before.", roughly(kept.Documented), roughly(kept.Reach))
	}
}
