package wiz

import (
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// generator makes records. It is not safe for concurrent use.
type generator struct {
	saassim.Dice
	users    []*principal
	accounts []*principal
	self     *principal // the service account that signs in to the tenant
	world    world
}

func newGenerator(d saassim.Dice, o Options) *generator {
	g := &generator{Dice: d}
	for i := range o.Users {
		g.users = append(g.users, g.user(i))
	}
	for i := range o.ServiceAccounts {
		g.accounts = append(g.accounts, g.account(i))
	}
	g.self = g.accounts[0]
	g.self.name, g.self.clientID, g.self.scopes, g.self.deleted = "log-collector", o.ClientID, o.Scopes, false
	g.world = g.newWorld()
	return g
}

var programs = []string{
	"python-requests/2.31.0", "python-requests/2.32.3", "node", "Go-http-client/2.0", "okhttp/4.12.0", "curl/8.7.1",
	"terraform-provider-wiz/1.8.2434 (+https://registry.terraform.io) terraform/1.9.5", "wiz-sensor/1.0.6349", "wizcli/0.52.0", "axios/1.7.7",
}

func (g *generator) user(i int) *principal {
	id, p := g.UUID(), g.Person(i)
	return &principal{kind: userAccount, id: id, name: p.Name(), email: p.Email, deleted: i%9 == 8, made: started(i), agents: p.Agents, ips: p.IPs, country: p.Country}
}

func (g *generator) account(i int) *principal {
	names := []string{"log-collector", "ci-scanner", "terraform", "siem-export", "cspm-sync", "sensor", "ticket-bridge", "reporting"}
	types := []string{"THIRD_PARTY", "CLI", "THIRD_PARTY", "INTEGRATION", "THIRD_PARTY", "SENSOR", "INTEGRATION", "THIRD_PARTY"}
	p := &principal{
		kind: serviceAccount, id: g.Text(52, saassim.Lower), name: names[i%len(names)], typ: types[i%len(types)], clientID: g.Text(53, saassim.Lower),
		scopes: []string{"read:issues", "read:vulnerabilities", "admin:audit"}, deleted: i%9 == 8, made: started(i),
	}
	if i >= len(names) {
		p.name = fmt.Sprintf("%s-%d", p.name, i/len(names)+1)
	}
	p.email = p.name + "@service.example.com"
	var at saassim.Person
	g.Equip(&at, programs, 1)
	p.agents, p.ips, p.country = at.Agents, at.IPs, at.Country
	return p
}

// started is when an account was made: before anything the tenant remembers.
func started(i int) time.Time {
	return time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * 26 * time.Hour)
}
