package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/appomni"
	"github.com/trawlsec/trawl/internal/saassim/box"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// demoTenant is one of the accounts that the demo collects from.
type demoTenant struct {
	*saassim.Tenant
	server  *saassim.Server
	begins  map[string]int    // records of each source when the demo begins
	live    saassim.Live      // and how many are made each second after
	config  string            // of the connection; URL stands for the server's address
	secrets map[string]string // by the names of the files that the configuration reads them from
}

// demoDelay is about how long after they happened the demo's events show, where
// a product has such a delay.
const demoDelay = time.Second

// demoOverlap is how long after the position in a stream was taken the demo's
// feeds read the time around it again: by then everything of before shows.
const demoOverlap = 4 * demoDelay

// startDemoTenants starts an account of each product that can be simulated.
func startDemoTenants(seed uint64, faults saassim.Faults) (_ demoTenants, err error) {
	w, wizErr := wiz.New(wiz.Options{Seed: seed})
	b, boxErr := box.New(box.Options{Seed: seed, PerMinute: -1, StreamDelay: demoDelay, IndexDelay: demoDelay})
	o, omniErr := appomni.New(appomni.Options{Seed: seed, Budget: 1_000_000})
	if err := errors.Join(wizErr, boxErr, omniErr); err != nil {
		return nil, err
	}
	tenants := demoTenants{
		{
			Tenant:  w.Tenant,
			begins:  map[string]int{"audit": 2400, "issues": 300},
			live:    saassim.Live{"audit": 4, "issues": 0.5},
			secrets: map[string]string{"wiz-secret": wiz.DefaultClientSecret},
			config: `
    settings:
      api_url: URL` + wiz.GraphQLPath + `
      token_url: URL` + wiz.TokenPath + `
      client_id: ` + wiz.DefaultClientID + `
      client_secret: ${file:./wiz-secret}
    rate_limit: {requests_per_second: 50, burst: 10}
    http: {timeout: 5s}
    sources:
      audit:  {start: 25h, interval: 2s, page_size: 100}
      issues: {start: 25h, interval: 2s, page_size: 100}
`,
		},
		{
			Tenant:  b.Tenant,
			begins:  map[string]int{"events": 1500},
			live:    saassim.Live{"events": 3},
			secrets: map[string]string{"box-secret": box.DefaultClientSecret},
			config: `
    settings:
      api_url: URL` + box.APIPath + `
      token_url: URL` + box.TokenPath + `
      client_id: ` + box.DefaultClientID + `
      client_secret: ${file:./box-secret}
      enterprise_id: "` + box.DefaultEnterpriseID + `"
    rate_limit: {requests_per_second: 50, burst: 10}
    http: {timeout: 5s}
    sources:
      events: {start: 25h, interval: 2s, overlap: ` + demoOverlap.String() + `, page_size: 100} # they show within seconds here
`,
		},
		{
			Tenant:  o.Tenant,
			begins:  map[string]int{"audit": 600},
			live:    saassim.Live{"audit": 1},
			secrets: map[string]string{"appomni-secret": appomni.DefaultClientSecret, "appomni-refresh-token": appomni.DefaultRefreshToken},
			config: `
    settings:
      api_url: URL
      client_id: ` + appomni.DefaultClientID + `
      client_secret: ${file:./appomni-secret}
      refresh_token: ${file:./appomni-refresh-token}
    rate_limit: {requests_per_second: 50, burst: 10}
    http: {timeout: 5s}
    sources:
      audit: {start: 25h, interval: 2s, page_size: 100}
`,
		},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tenants.close())
		}
	}()
	for _, t := range tenants {
		for source, n := range t.begins {
			t.Add(source, saassim.Batch{N: n, To: t.Now().Add(-4 * demoDelay)}) // all of it shows at once
		}
		if err := t.SetFaults(faults.Only(t.FaultNames())); err != nil {
			return nil, err
		}
		if t.server, err = t.Start(); err != nil {
			return nil, err
		}
	}
	return tenants, nil
}

// demoTenants are the accounts of a demo.
type demoTenants []*demoTenant

func (d demoTenants) close() error {
	var errs []error
	for _, t := range d {
		if t.server != nil {
			errs = append(errs, t.server.Close())
		}
	}
	return errors.Join(errs...)
}

// run makes records until ctx ends.
func (d demoTenants) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range d {
		all.Go(func() { _ = t.Run(ctx, t.live) }) // ends with the context's error
	}
	all.Wait()
}

// settle waits until everything that the tenants have shows, and the next
// reading is one that finds it.
func (d demoTenants) settle(ctx context.Context) {
	var last time.Time
	for _, t := range d {
		for r := range t.Truth() {
			for _, shows := range []time.Time{r.VisibleAt, r.StreamAt} {
				if shows.After(last) {
					last = shows
				}
			}
		}
	}
	pause(ctx, max(min(time.Until(last), 10*demoDelay), demoOverlap))
}

// String lists the products: wiz and box.
func (d demoTenants) String() string {
	var names []string
	for _, t := range d {
		names = append(names, t.Name())
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// writeConfig writes a configuration like a user's own, and reads it.
func (d demoTenants) writeConfig(dir string) (*config.Config, error) {
	var text strings.Builder
	text.WriteString("# Written by \"trawl demo\"; the accounts live as long as the demo does.\ndata_dir: ./trawl-data\nlisten: \"\"\nconnections:\n")
	for _, t := range d {
		for file, secret := range t.secrets {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(secret+"\n"), 0o600); err != nil {
				return nil, fmt.Errorf("write the demo's secrets: %w", err)
			}
		}
		fmt.Fprintf(&text, "  demo-%s:\n    product: %s", t.Name(), t.Name())
		text.WriteString(strings.ReplaceAll(t.config, "URL", t.server.URL))
	}
	text.WriteString("outputs:\n  documents: {type: file, path: ./events.ndjson}\n")
	path := filepath.Join(dir, "trawl.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	return config.Load(path, loadCatalogue)
}

// faultsMet tells, a line each, how the tenants answered.
func (d demoTenants) faultsMet() string {
	var lines []string
	for _, t := range d {
		s := t.Stats()
		var parts []string
		for _, name := range saassim.FaultNames() {
			if n := s.ByFault[name]; n > 0 {
				parts = append(parts, fmt.Sprintf("%s %d", name, n))
			}
		}
		line := fmt.Sprintf("%s answered %d requests without a fault.", t.Name(), s.Requests)
		if len(parts) > 0 {
			line = fmt.Sprintf("%s answered %d requests, and not all of them well: %s.", t.Name(), s.Requests, strings.Join(parts, ", "))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
