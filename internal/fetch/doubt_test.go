package fetch

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// One refusal of a sign-in may be a mishap: it is asked once more after a moment.
// What is refused twice is, and after that nobody asks twice in a row, as that
// could lock the account.
func TestDoubtedRefusal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers []int   // statuses of the server of tokens, in order; the last goes on
		signIns []Class // what each sign-in comes to, a minute apart
		want    []int   // how often each asks
	}{
		"a mishap":                    {[]int{401, 200}, []Class{OK, OK}, []int{2, 1}},
		"a mishap of another kind":    {[]int{403, 200}, []Class{OK}, []int{2}},
		"refused":                     {[]int{401}, []Class{Auth, Auth, Auth}, []int{2, 1, 1}},
		"forbidden, then refused":     {[]int{403, 401}, []Class{Auth, Auth}, []int{2, 1}},
		"mended":                      {[]int{401, 401, 200, 401, 200}, []Class{Auth, OK, OK}, []int{2, 1, 2}},
		"refused, then down":          {[]int{401, 401, 503, 401, 200}, []Class{Auth, Auth, OK}, []int{2, 2, 1}},
		"an answer that says why":     {[]int{400}, []Class{Auth, Auth}, []int{1, 1}},
		"nobody there":                {[]int{404, 200}, []Class{Auth, OK}, []int{1, 1}},
		"a mishap, then out of reach": {[]int{401, 503, 200}, []Class{OK}, []int{3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked []time.Time
				a := &api{token: func(n int, _ url.Values) *http.Response {
					asked = append(asked, time.Now())
					if status := test.answers[min(n, len(test.answers))-1]; status != 200 {
						return respond(status, `{}`)
					}
					return tokenAnswer("token", 30) // ended by the next sign-in
				}}
				c := client(t, a, nil)
				var asks []int
				for _, want := range test.signIns {
					before := len(asked)
					err := c.SignIn(t.Context())
					switch {
					case want == OK && err != nil:
						t.Errorf("failed: %v", err)
					case want != OK && failure(t, err).Class != want:
						t.Errorf("failed with %v, want class %s", err, want)
					}
					asks = append(asks, len(asked)-before)
					if err := sleep(t.Context(), time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(asks, test.want) {
					t.Errorf("asked %v times, want %v", asks, test.want)
				}
				if len(asked) > 1 && test.want[0] == 2 {
					if wait := asked[1].Sub(asked[0]); wait < leastDoubt || wait > mostDoubt {
						t.Errorf("asked again after %s", wait)
					}
				}
			})
		})
	}
}

// Who stops meanwhile waits for nothing, and leaves nobody else with less than
// two tries.
func TestDoubtCalledOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{token: func(n int, _ url.Values) *http.Response {
			if n <= 2 {
				return respond(401, "")
			}
			return tokenAnswer("token", 30)
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		begun := time.Now()
		c := client(t, a, nil)
		err := c.SignIn(ctx)
		if err == nil || a.signIns != 1 || time.Since(begun) > time.Second/2 {
			t.Errorf("%v after %s and %d sign-ins", err, time.Since(begun), a.signIns)
		}
		if err := c.SignIn(t.Context()); err != nil || a.signIns != 3 {
			t.Errorf("the next: %v after %d sign-ins", err, a.signIns)
		}
	})
}
