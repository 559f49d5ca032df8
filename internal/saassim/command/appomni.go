package command

import (
	"context"
	"flag"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/appomni"
)

var appomniProduct = product{
	name: "appomni", sources: []string{"audit"},
	flags: func(fs *flag.FlagSet) func(saassim.Settings, time.Time, time.Time) (*instance, error) {
		var o appomni.Options
		var d appomni.Destination
		fs.BoolVar(&o.Rotate, "rotate", false, "a refresh token is good once")
		fs.DurationVar(&o.Grace, "grace", 0, "how long a refresh token that was used is still good")
		fs.DurationVar(&o.TokenLifetime, "token-lifetime", 10*time.Hour, "how long an access token lives")
		fs.IntVar(&o.Budget, "budget", 2000, "`requests` in each budget window")
		fs.DurationVar(&o.BudgetWindow, "budget-window", time.Hour, "`span` of the budget")
		fs.IntVar(&o.MaxPage, "max-page", 100, "most `rows` of a page")
		fs.BoolVar(&o.NullNext, "null-next", false, `next is null at the end, not the text "null"`)
		fs.BoolVar(&o.Inclusive, "inclusive", false, "since and before include their own instant")
		fs.StringVar(&d.URL, "push-url", "", "`address` to push events to")
		array := fs.Bool("push-array", false, "push JSON arrays in place of lines")
		fs.BoolVar(&d.Gzip, "push-gzip", false, "compress pushes")
		fs.BoolVar(&d.Nulls, "push-nulls", false, "push nulls, as older events have them")
		fs.BoolVar(&d.Backlog, "push-backlog", false, "push the first records, too")
		fs.StringVar(&d.Token, "push-token", "", "bearer `token` of pushes")
		fs.StringVar(&d.User, "push-user", "", "`name` for basic authentication of pushes")
		fs.StringVar(&d.Password, "push-password", "", "`password` for basic authentication of pushes")
		fs.StringVar(&d.Secret, "push-secret", "", "`key` that pushes are signed by")
		fs.StringVar(&d.SignatureHeader, "push-signature", "", "`header` of the signature; X-AppOmni-Signature if it is empty")
		fs.IntVar(&d.Batch, "push-batch", 100, "most `events` of a push")
		return func(s saassim.Settings, _, _ time.Time) (*instance, error) {
			o.Seed, o.Clock, o.Gzip, o.Faults = s.Seed, s.Clock, s.Gzip, s.Faults
			a, err := appomni.New(o)
			if err != nil {
				return nil, err
			}
			i := &instance{
				Tenant: a.Tenant,
				paths:  [][2]string{{"tenant_url", ""}, {"api_url", appomni.APIPath}, {"token_url", appomni.TokenPath}},
				credentials: [][2]string{{"client_id", appomni.DefaultClientID}, {"client_secret", appomni.DefaultClientSecret},
					{"refresh_token", appomni.DefaultRefreshToken}, {"access_token", appomni.DefaultToken}},
			}
			if *array {
				d.Framing = appomni.Array
			}
			if d.URL != "" {
				i.beside = func(ctx context.Context) error { return a.Push(ctx, d) }
			}
			return i, nil
		}
	},
}
