package command

import (
	"flag"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/box"
)

var boxProduct = product{
	name: "box", sources: []string{"events"},
	flags: func(fs *flag.FlagSet) func(saassim.Settings, time.Time, time.Time) (*instance, error) {
		var o box.Options
		jwt := jwtFlag(fs)
		fs.StringVar((*string)(&o.Positions), "positions", string(box.MixedPositions), "how positions are `written`: mixed, number, string")
		fs.BoolVar(&o.Wide, "wide", false, "positions have 20 digits")
		fs.BoolVar(&o.Inclusive, "inclusive", false, "created_after and created_before include their own instant")
		fs.IntVar(&o.PerMinute, "per-minute", 1000, "most `requests` a minute; -1 for no limit")
		fs.DurationVar(&o.TokenLifetime, "token-lifetime", time.Hour, "how long a token lives")
		fs.DurationVar(&o.StreamDelay, "stream-delay", 12*time.Second, "after which an event is in the stream")
		fs.DurationVar(&o.IndexDelay, "index-delay", time.Minute, "after which an event is in the log, half more or less")
		fs.DurationVar(&o.KeepPositions, "keep-positions", 14*24*time.Hour, "how long an unused position of the stream is good")
		fs.Float64Var(&o.StreamTwice, "stream-twice", 0.02, "`share` of the events that are in the stream twice; -1 for none")
		fs.StringVar(&o.Audience, "audience", box.DefaultAudience, "`aud` of a JWT")
		return func(s saassim.Settings, _, _ time.Time) (*instance, error) {
			o.Seed, o.Clock, o.Gzip, o.Faults = s.Seed, s.Clock, s.Gzip, s.Faults
			i := &instance{
				paths: [][2]string{{"api_url", box.APIPath}, {"token_url", box.TokenPath}},
				credentials: [][2]string{{"client_id", box.DefaultClientID}, {"client_secret", box.DefaultClientSecret},
					{"enterprise_id", box.DefaultEnterpriseID}},
			}
			var err error
			if o.Keys, err = i.newKeys(*jwt); err != nil {
				return nil, err
			}
			b, err := box.New(o)
			if err != nil {
				return nil, err
			}
			i.Tenant = b.Tenant
			return i, nil
		}
	},
}
