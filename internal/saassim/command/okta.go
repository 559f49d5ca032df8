package command

import (
	"crypto"
	"flag"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/okta"
)

var oktaProduct = product{
	name: "okta", sources: []string{"system_log"},
	flags: func(fs *flag.FlagSet) func(saassim.Settings, time.Time, time.Time) (*instance, error) {
		var o okta.Options
		jwt := jwtFlag(fs)
		fs.BoolVar(&o.DPoP, "dpop", false, "the service app must prove possession of a key")
		fs.IntVar(&o.PerMinute, "per-minute", 120, "most `requests` a minute; -1 for no limit")
		fs.DurationVar(&o.TokenLifetime, "token-lifetime", time.Hour, "how long a token of the service app lives")
		fs.DurationVar(&o.Delay, "delay", 3*time.Second, "within which an event is stored")
		return func(s saassim.Settings, _, _ time.Time) (*instance, error) {
			o.Seed, o.Clock, o.Gzip, o.Faults = s.Seed, s.Clock, s.Gzip, s.Faults
			i := &instance{
				paths:       [][2]string{{"org_url", ""}, {"token_url", okta.TokenPath}},
				credentials: [][2]string{{"api_token", okta.DefaultToken}, {"client_id", okta.DefaultClientID}},
			}
			var err error
			if o.Keys, err = i.newKeys(*jwt); err != nil {
				return nil, err
			}
			t, err := okta.New(o)
			if err != nil {
				return nil, err
			}
			i.Tenant = t.Tenant
			return i, nil
		}
	},
}

// keyID is the id of the key that a served tenant knows.
const keyID = "simkey01"

func jwtFlag(fs *flag.FlagSet) *bool {
	return fs.Bool("jwt", false, "make a key, so that the application can sign in by JWT: key_id and private_key (in -addr-dir)")
}

// newKeys makes a key, if it is wanted, and adds it to the credentials. It
// returns what the tenant needs to know of it.
func (i *instance) newKeys(wanted bool) (map[string]crypto.PublicKey, error) {
	if !wanted {
		return nil, nil
	}
	key, err := saassim.NewSigningKey()
	if err != nil {
		return nil, err
	}
	i.credentials = append(i.credentials, [2]string{"key_id", keyID}, [2]string{"private_key", key.Private})
	return map[string]crypto.PublicKey{keyID: key.Public}, nil
}
