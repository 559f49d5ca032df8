package saassim

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want Faults
		err  string
	}{
		{"", Faults{}, ""},
		{"truncate", Faults{Truncate: {Rate: 1}}, ""},
		{"truncate=0.1, throttle=1/7:2s,error500=3x", Faults{Truncate: {Rate: 0.1}, Throttle: {Every: 7, Delay: 2 * time.Second}, Error500: {Times: 3}}, ""},
		{"cap:250,equal=0.5:9", Faults{CapResults: {Rate: 1, N: 250}, Equal: {Rate: 0.5, N: 9}}, ""},
		{"chaos", Faults{Chaos: {Rate: 1}}, ""},
		{"nonsense", nil, `no fault is called "nonsense"`},
		{"slow=often", nil, `slow: "often" is not when: write a share`},
		{"slow=1.5", nil, "between 0 and 1"},
		{"slow=NaN", nil, "between 0 and 1"},
		{"slow=1/-2", nil, "negative"},
		{"slow:soon", nil, "slow: "},
		{"html:3", nil, "takes no amount"},
	} {
		got, err := ParseFaults(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.text, err, tt.err)
			}
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%q: %v %s", tt.text, err, d)
		}
		if again, err := ParseFaults(got.String()); err != nil || !maps.Equal(got, again) {
			t.Errorf("%q becomes %q", tt.text, got)
		}
	}
	for _, f := range FaultNames() {
		if _, err := ParseFaults(string(f)); err != nil {
			t.Error(err)
		}
	}
}

// Faults strike as often as they should, the same way each time, and switching
// one on does not move another.
func TestWhenFaultsStrike(t *testing.T) {
	t.Parallel()
	strikes := func(seed uint64, f Faults, which Fault) (times []int) {
		s := &faultState{seed: seed}
		s.replace(f.expand(FaultNames()))
		for i := range 1000 {
			if _, ok := s.drawRequest()[which]; ok {
				times = append(times, i)
			}
		}
		return times
	}
	if got := strikes(1, Faults{HTML: {Every: 300}}, HTML); !slices.Equal(got, []int{299, 599, 899}) {
		t.Errorf("each 300th: %v", got)
	}
	if got := strikes(1, Faults{HTML: {Times: 2}}, HTML); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("the next two: %v", got)
	}
	some := strikes(1, Faults{HTML: {Rate: 0.1}}, HTML)
	if len(some) < 60 || len(some) > 140 {
		t.Errorf("a tenth: %d of 1000", len(some))
	}
	if !slices.Equal(some, strikes(1, Faults{Chaos: {Rate: 1}, HTML: {Rate: 0.1}}, HTML)) {
		t.Error("other faults move this one")
	}
	if slices.Equal(some, strikes(2, Faults{HTML: {Rate: 0.1}}, HTML)) {
		t.Error("another seed strikes at the same times")
	}
}

// A tenant has the faults of every product and those of its own, and refuses
// the others; a list for several tenants can be cut to what each can have.
func TestFaultsOfATenant(t *testing.T) {
	t.Parallel()
	tenant, err := NewTenant(Product{Name: "acme", Faults: []Fault{Twice}}, Settings{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := tenant.FaultNames(); !slices.Contains(got, Twice) || !slices.Contains(got, Reset) || slices.Contains(got, NullNodes) {
		t.Errorf("faults %v", got)
	}
	list := Faults{Chaos: {Rate: 1}, NullNodes: {Rate: 1}, Twice: {Times: 1}}
	if err := tenant.SetFaults(list); err == nil || !strings.Contains(err.Error(), "null-nodes") {
		t.Errorf("a fault of another product: %v", err)
	}
	if _, ok := tenant.Draw(Twice); ok {
		t.Error("a list that was refused is in force")
	}
	if err := tenant.SetFaults(list.Only(tenant.FaultNames())); err != nil {
		t.Error(err)
	}
	if _, ok := tenant.Draw(Twice); !ok || !tenant.Faulty(Truncate) || tenant.Faulty(Partial) {
		t.Error("the list is not in force, with the blend as far as it applies")
	}
	if _, ok := tenant.Draw(Twice); ok {
		t.Error("the blend replaces what the list says of a fault")
	}
}
