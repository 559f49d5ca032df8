package saassim

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault names one way in which a tenant misbehaves.
type Fault string

// Chaos stands for a blend of the faults that pass, as far as the product can
// have them: a client that retries, signs in again and drops what it already has
// loses nothing to them. A fault named besides it has its own setting.
const Chaos Fault = "chaos"

// What happens to a whole answer. Each is decided anew for every request to
// the API (the SignIn ones: for every token request); where several fall on one
// request, the first in this list that replaces the answer wins.
const (
	Slow         Fault = "slow"          // the answer waits (200ms)
	Hang         Fault = "hang"          // no answer until the client gives up
	Reset        Fault = "reset"         // the connection is reset
	Throttle     Fault = "throttle"      // 429, Retry-After in seconds (1s)
	ThrottleDate Fault = "throttle-date" // 429, Retry-After as a date (1s)
	ThrottleBare Fault = "throttle-bare" // 429 without Retry-After
	ThrottleBody Fault = "throttle-body" // 200, with an error in the body that says how long to wait (1s)
	Error500     Fault = "error500"
	Error502     Fault = "error502"
	Error503     Fault = "error503"
	Unavailable  Fault = "unavailable"  // 503, Retry-After in seconds (1s)
	HTML         Fault = "html"         // 200 with a web page
	Expire       Fault = "expire"       // all tokens become worthless just before the request
	Unauthorized Fault = "unauthorized" // 401 whatever the token
	Errors       Fault = "errors"       // 200, with errors in the body and no data
	Partial      Fault = "partial"      // errors in the body, and half of the page's records as data
	NullNodes    Fault = "null-nodes"   // errors in the body, and null in place of the page's records
	Truncate     Fault = "truncate"     // the connection closes halfway through the body
	CutJSON      Fault = "cut-json"     // half of the JSON as a whole HTTP body
	Huge         Fault = "huge"         // blanks before the JSON (68157440 bytes)

	SignIn500      Fault = "signin500"
	SignIn401      Fault = "signin401"
	SignInThrottle Fault = "signin-throttle" // 429, Retry-After in seconds (1s)
	SignInLost     Fault = "signin-lost"     // the sign-in succeeds, but its answer is lost: the connection is reset
)

// What happens to a page of records.
const (
	RepeatPage    Fault = "repeat"         // the page before once more, with a new cursor to this one
	EmptyPage     Fault = "empty"          // no records, yet more to come: a new cursor to the same place
	StuckCursor   Fault = "stuck"          // more to come, and a cursor to this very page
	NullCursor    Fault = "null-cursor"    // more to come without a cursor
	NumericCursor Fault = "numeric-cursor" // the cursor is a JSON number
	DeadCursor    Fault = "dead-cursor"    // the cursor is refused as one that is too old
	ForeignNext   Fault = "foreign-next"   // the address of the next page is one on another server
	ShortPage     Fault = "short"          // a page of half the size, though there are more records
	CapResults    Fault = "cap"            // the query ends silently after so many results (10000)
	MissingKeys   Fault = "missing"        // keys that should always be there are left out
	Duplicate     Fault = "duplicate"      // a record stands twice in the page
	Shift         Fault = "shift"          // so many records appear or change before a later page of a walk is read (3)
	Vanish        Fault = "vanish"         // so many records are gone before a later page of a walk is read (1)
	Unordered     Fault = "unordered"      // records in no order
)

// What happens to records as they are made.
const (
	Late  Fault = "late"  // a record becomes visible this long after its time (10m)
	Equal Fault = "equal" // so many records share one time (20)
	Twice Fault = "twice" // a record enters a stream a second time, or a batch that was pushed is sent again
	Lost  Fault = "lost"  // a record never enters the stream, or is never pushed; only queries see it
)

// What happens to a file that was ordered. Each is decided when it is.
const (
	ReportFails Fault = "report-fails"   // it is never made
	ReportStuck Fault = "report-stuck"   // it is being made for ever
	ReportDead  Fault = "report-expired" // its addresses have expired when they are given out
	ReportStale Fault = "report-stale"   // after it was ordered anew, the file before is told of for so long (1s)
)

// Setting says when a fault strikes, by one of Rate, Every and Times, and how
// much of it there is.
type Setting struct {
	Rate  float64       // this share of the times, 0 to 1
	Every int           // each so many-th time
	Times int           // the next so many times, then no more
	Delay time.Duration // of the faults that have a duration; 0: the fault's own
	N     int           // of the faults that have a count; 0: the fault's own
}

// Faults is what goes wrong in a tenant.
type Faults map[Fault]Setting

// faultKind is what there is to know of a fault.
type faultKind struct {
	common bool          // every product can have it
	aside  bool          // it is no part of a request to the API: drawn by itself, where it belongs
	delay  time.Duration // what a setting has where it says nothing
	n      int
	chaos  Setting // its part in the blend; zero: none
}

var faultKinds = map[Fault]faultKind{
	Slow:         {common: true, delay: 200 * time.Millisecond, chaos: Setting{Rate: 0.05, Delay: 50 * time.Millisecond}},
	Hang:         {common: true},
	Reset:        {common: true, chaos: Setting{Rate: 0.01}},
	Throttle:     {common: true, delay: time.Second, chaos: Setting{Rate: 0.02}},
	ThrottleDate: {common: true, delay: time.Second, chaos: Setting{Rate: 0.005}},
	ThrottleBare: {common: true, chaos: Setting{Rate: 0.01}},
	ThrottleBody: {delay: time.Second, chaos: Setting{Rate: 0.01}},
	Error500:     {common: true, chaos: Setting{Rate: 0.02}},
	Error502:     {common: true, chaos: Setting{Rate: 0.01}},
	Error503:     {common: true, chaos: Setting{Rate: 0.01}},
	Unavailable:  {common: true, delay: time.Second, chaos: Setting{Rate: 0.005}},
	HTML:         {common: true, chaos: Setting{Rate: 0.01}},
	Expire:       {common: true, chaos: Setting{Every: 97}},
	Unauthorized: {common: true},
	Errors:       {chaos: Setting{Rate: 0.01}},
	Partial:      {chaos: Setting{Rate: 0.02}},
	NullNodes:    {chaos: Setting{Rate: 0.01}},
	Truncate:     {common: true, chaos: Setting{Rate: 0.02}},
	CutJSON:      {common: true, chaos: Setting{Rate: 0.01}},
	Huge:         {common: true, n: 65 << 20},

	SignIn500:      {common: true, aside: true, chaos: Setting{Rate: 0.1}},
	SignIn401:      {common: true, aside: true},
	SignInThrottle: {common: true, aside: true, delay: time.Second},
	SignInLost:     {common: true, aside: true},

	RepeatPage:    {chaos: Setting{Rate: 0.02}},
	EmptyPage:     {chaos: Setting{Rate: 0.02}},
	StuckCursor:   {},
	NullCursor:    {},
	NumericCursor: {},
	DeadCursor:    {},
	ForeignNext:   {},
	ShortPage:     {chaos: Setting{Rate: 0.1}},
	CapResults:    {n: 10_000},
	MissingKeys:   {},
	Duplicate:     {chaos: Setting{Rate: 0.02}},
	Shift:         {n: 3},
	Vanish:        {n: 1},
	Unordered:     {},

	ReportFails: {aside: true},
	ReportStuck: {aside: true},
	ReportDead:  {aside: true},
	ReportStale: {aside: true, delay: time.Second},

	Late:  {common: true, aside: true, delay: 10 * time.Minute},
	Equal: {common: true, aside: true, n: 20, chaos: Setting{Rate: 0.02, N: 20}},
	Twice: {aside: true, chaos: Setting{Rate: 0.05}},
	Lost:  {aside: true},
}

// FaultNames lists every fault that some product can have, by name.
func FaultNames() []Fault { return slices.Sorted(maps.Keys(faultKinds)) }

func join(faults []Fault) string {
	words := make([]string, len(faults))
	for i, f := range faults {
		words[i] = string(f)
	}
	return strings.Join(words, ", ")
}

// FaultsHelp says for people what ParseFaults reads.
func FaultsHelp() string {
	const helpWidth = 100 // of a line
	text := "A fault is written NAME, or NAME=WHEN, with :AMOUNT for some. WHEN is a share of the times (0.1),\n" +
		"every so many-th time (1/7), or the next so many times (3x). The names:\n"
	line := "  " + string(Chaos) + " (a blend of those that pass)"
	for _, name := range FaultNames() {
		if len(line)+len(name)+2 > helpWidth {
			text, line = text+line+",\n", "  "+string(name)
		} else {
			line += ", " + string(name)
		}
	}
	return text + line
}

// Only is the faults of the list that are among the names, and Chaos.
func (f Faults) Only(names []Fault) Faults {
	out := maps.Clone(f)
	maps.DeleteFunc(out, func(name Fault, _ Setting) bool { return name != Chaos && !slices.Contains(names, name) })
	return out
}

// expand replaces Chaos by what it stands for where only some faults can be.
func (f Faults) expand(known []Fault) Faults {
	if _, ok := f[Chaos]; !ok {
		return f
	}
	out := maps.Clone(f)
	delete(out, Chaos)
	for _, name := range known {
		if _, given := f[name]; !given && faultKinds[name].chaos != (Setting{}) {
			out[name] = faultKinds[name].chaos
		}
	}
	return out
}

// ParseFaults reads a comma-separated list of name[=when][:amount]. When is a
// share of the times (0.1), each so many-th time (1/7) or the next so many
// (3x), and always where it is missing; the amount is a duration or a count,
// by the fault. An empty text is no faults.
func ParseFaults(s string) (Faults, error) {
	out := Faults{}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if item == string(Chaos) {
			out[Chaos] = Setting{Rate: 1}
			continue
		}
		spec, amount, hasAmount := strings.Cut(item, ":")
		name, when, hasWhen := strings.Cut(spec, "=")
		f, set := Fault(name), Setting{Rate: 1}
		kind, ok := faultKinds[f]
		if !ok {
			return nil, fmt.Errorf("parse faults %q: no fault is called %q; there are: %s, %s", s, name, Chaos, join(FaultNames()))
		}
		var err error
		if hasWhen {
			if set, err = parseWhen(when); err != nil {
				return nil, fmt.Errorf("parse faults %q: %s: %w", s, name, err)
			}
		}
		if hasAmount {
			switch {
			case kind.delay != 0:
				set.Delay, err = time.ParseDuration(amount)
			case kind.n != 0:
				set.N, err = strconv.Atoi(amount)
			default:
				err = fmt.Errorf("takes no amount")
			}
			if err != nil {
				return nil, fmt.Errorf("parse faults %q: %s: %w", s, name, err)
			}
		}
		out[f] = set
	}
	return out, out.check()
}

func parseWhen(s string) (Setting, error) {
	var set Setting
	var err error
	if n, ok := strings.CutPrefix(s, "1/"); ok {
		set.Every, err = strconv.Atoi(n)
	} else if n, ok := strings.CutSuffix(s, "x"); ok {
		set.Times, err = strconv.Atoi(n)
	} else {
		set.Rate, err = strconv.ParseFloat(s, 64)
	}
	if err != nil {
		return Setting{}, fmt.Errorf("%q is not when: write a share of the times (0.1), every so many-th time (1/7), or the next so many times (3x)", s)
	}
	return set, nil
}

func (f Faults) check() error {
	for name, s := range f {
		switch _, ok := faultKinds[name]; {
		case !ok && name != Chaos:
			return fmt.Errorf("no fault is called %q", name)
		case !(s.Rate >= 0 && s.Rate <= 1): // not a number is refused too
			return fmt.Errorf("fault %s: a share of %v is not between 0 and 1", name, s.Rate)
		case s.Every < 0 || s.Times < 0 || s.Delay < 0 || s.N < 0:
			return fmt.Errorf("fault %s: a negative setting", name)
		}
	}
	return nil
}

// String is the text that ParseFaults reads back.
func (f Faults) String() string {
	var items []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		s, item := f[name], string(name)
		switch {
		case name == Chaos: // takes no setting
		case s.Every > 0:
			item += "=1/" + strconv.Itoa(s.Every)
		case s.Times > 0:
			item += "=" + strconv.Itoa(s.Times) + "x"
		default:
			item += "=" + strconv.FormatFloat(s.Rate, 'g', -1, 64)
		}
		if s.Delay > 0 {
			item += ":" + s.Delay.String()
		} else if s.N > 0 {
			item += ":" + strconv.Itoa(s.N)
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}

// faultState decides when faults strike. Every fault has a random stream of
// its own, so that switching one on does not move the others.
type faultState struct {
	seed uint64
	mu   sync.Mutex
	set  map[Fault]*striker
}

type striker struct {
	Setting
	rand *rand.Rand
	seen int
}

func (s *faultState) replace(f Faults) {
	set := map[Fault]*striker{}
	for name, setting := range f {
		if kind := faultKinds[name]; setting.Delay == 0 && setting.N == 0 {
			setting.Delay, setting.N = kind.delay, kind.n
		}
		h := fnv.New64a()
		h.Write([]byte(name))
		set[name] = &striker{Setting: setting, rand: rand.New(rand.NewPCG(s.seed, h.Sum64()))}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
}

func (s *faultState) has(f Fault) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set[f] != nil
}

// draw decides whether f strikes now.
func (s *faultState) draw(f Fault) (Setting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drawLocked(f)
}

func (s *faultState) drawLocked(f Fault) (Setting, bool) {
	st := s.set[f]
	if st == nil {
		return Setting{}, false
	}
	st.seen++
	var hit bool
	switch {
	case st.Every > 0:
		hit = st.seen%st.Every == 0
	case st.Times > 0:
		hit = st.seen <= st.Times
	default:
		hit = st.rand.Float64() < st.Rate
	}
	return st.Setting, hit
}

// drawRequest decides for one request to the API which of the faults in force
// strike it.
func (s *faultState) drawRequest() map[Fault]Setting {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hits map[Fault]Setting
	for f := range s.set {
		if faultKinds[f].aside {
			continue
		}
		if set, hit := s.drawLocked(f); hit {
			if hits == nil {
				hits = map[Fault]Setting{}
			}
			hits[f] = set
		}
	}
	return hits
}
