package collect

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// TestStreamNothingLost runs many lives of a feed that follows a stream while
// the product misbehaves, positions expire, and the process dies before or after
// any write. At the end the log holds each record once: those that came late by
// time, late in the stream, or never in it.
func TestStreamNothingLost(t *testing.T) {
	t.Parallel()
	lives := 150
	if testing.Short() {
		lives = 30
	}
	for seed := range seeds(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(&shared{source: rand.NewPCG(seed, 3)})
				api, log := newStreamer(), newMemoryLog()
				api.since, api.keeps = seed%2 == 1, 2*time.Hour
				make := func(prefix string, n int, span time.Duration) {
					for _, e := range randomly(r, prefix, n, time.Now(), span, 0) {
						switch r.IntN(6) {
						case 0: // never in the stream
							api.add(e)
						case 1: // late by time
							api.stream(12*time.Second, rand.N(40*time.Minute), e)
						case 2: // late in the stream
							api.stream(rand.N(40*time.Minute), 0, e)
						default:
							api.stream(12*time.Second, 12*time.Second, e)
						}
					}
				}
				make("past", 200, 50*time.Minute)
				api.misbehave = misbehaving(r, api)
				api.fault = func(fetch.Request, *fetch.Page) error {
					if r.IntN(10) == 0 {
						return &fetch.Error{Class: fetch.Retry}
					}
					return nil
				}
				options := func(o *Options) {
					followed(o)
					o.Revisit = []time.Duration{time.Hour}
					o.Source.Stream.Keeps = 2 * 3600e9
					if api.since {
						o.Source.Stream.Start = ""
					}
				}
				for life := range lives {
					crash := func(string) error { return nil }
					if at := r.IntN(14); at < 12 {
						crash = func(string) error {
							if at--; at < 0 {
								return errCrash
							}
							return nil
						}
					}
					log.before, log.after = nil, nil
					switch r.IntN(3) {
					case 0:
						log.before = crash
					case 1:
						log.after = crash
					default:
						log.before = func(what string) error {
							if what == "page" && r.IntN(4) == 0 {
								return pagelog.ErrFull
							}
							return nil
						}
					}
					f := open(t, unhurried{api, 100 * time.Millisecond}, log, options)
					ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(10))*time.Minute)
					_ = f.Run(ctx)
					stop()
					switch r.IntN(12) {
					case 0:
						time.Sleep(3 * time.Hour)
					case 1:
						api.forget()
					case 2:
						_ = f.Do(t.Context(), Rewind(time.Now().Add(-rand.N(2*time.Hour))))
					}
					make(fmt.Sprint("life", life, "-"), r.IntN(12), 4*time.Minute)
				}
				log.before, log.after, api.misbehave, api.fault = nil, nil, nil, nil
				time.Sleep(3 * time.Hour) // the last late ones become visible, and old enough for a revisit
				if err := open(t, api, log, options).Once(t.Context()); err != nil {
					t.Fatalf("last Once: %v", err)
				}
				wantAll(t, api.tenant, log)
			})
		})
	}
}
