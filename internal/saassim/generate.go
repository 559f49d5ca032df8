package saassim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Batch says what records to make: so many, at times drawn from [From, To).
// A zero To is now, and a zero From a day before To; where From is not before
// To all have the time To.
type Batch struct {
	N        int
	From, To time.Time
	Late     time.Duration // they become visible this long after their time
	Equal    int           // so many share each time; 0: as it falls, in microseconds
}

// moment is when something happens and when it begins to show.
type moment struct{ at, visible time.Time }

// spread draws the times of a batch. The lock must be held.
func (w *Wiz) spread(b Batch) []moment {
	if b.To.IsZero() {
		b.To = w.now()
	}
	if b.From.IsZero() {
		b.From = b.To.Add(-24 * time.Hour)
	}
	out := make([]moment, 0, b.N)
	for len(out) < b.N {
		at, share := w.gen.between(b.From, b.To), max(1, b.Equal)
		if s, ok := w.faults.draw(Equal); ok {
			share = s.N
		}
		for range min(share, b.N-len(out)) {
			late := b.Late
			if s, ok := w.faults.draw(Late); ok {
				late = s.Delay
			}
			out = append(out, moment{at, at.Add(late)})
		}
	}
	return out
}

// generator makes records. It is not safe for concurrent use.
type generator struct {
	rand     *rand.Rand
	users    []*principal
	accounts []*principal
	self     *principal // the service account that signs in to the tenant
	world    world
}

func newGenerator(r *rand.Rand, o Options) *generator {
	g := &generator{rand: r}
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

var firstNames = []string{"alice", "bob", "chloé", "dmitri", "eve", "farah", "grace", "henrik", "ines", "jun", "kofi", "lena",
	"mallory", "niamh", "omar", "priya", "quentin", "rosa", "søren", "tomoko", "uma", "viktor", "wei", "ximena", "yael", "zoë"}

var lastNames = []string{"brown", "okafor", "martin", "sato", "o'neill", "kowalska", "silva", "nguyen", "haddad", "lindqvist", "cohen", "rossi"}

var ascii = strings.NewReplacer("é", "e", "ø", "o", "ë", "e", "'", "")

// The addresses are those set aside for documentation.
var countries = []struct{ code, v4, v6 string }{
	{"US", "192.0.2.%d", "2001:db8:1::%x"}, {"DE", "198.51.100.%d", "2001:db8:2::%x"},
	{"IL", "203.0.113.%d", "2001:db8:3::%x"}, {"JP", "198.51.100.%d", "2001:db8:4::%x"},
	{"", "10.20.30.%d", "fd00:db8::%x"}, // an address of no country
}

var browsers = []string{
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
	"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.6668.100 Mobile Safari/537.36",
}

var programs = []string{
	"python-requests/2.31.0", "python-requests/2.32.3", "node", "Go-http-client/2.0", "okhttp/4.12.0", "curl/8.7.1",
	"terraform-provider-wiz/1.8.2434 (+https://registry.terraform.io) terraform/1.9.5", "wiz-sensor/1.0.6349", "wizcli/0.52.0", "axios/1.7.7",
}

func (g *generator) user(i int) *principal {
	first, last := firstNames[i%len(firstNames)], lastNames[(i/len(firstNames)+i)%len(lastNames)]
	mail := ascii.Replace(first + "." + last)
	if round := i / (len(firstNames) * len(lastNames)); round > 0 {
		mail += fmt.Sprint(round)
	}
	p := &principal{
		kind: userAccount, id: g.uuid(), name: title(first) + " " + title(last), email: mail + "@example.com",
		deleted: i%9 == 8, made: started(i),
	}
	g.equip(p, browsers, 1+i%2)
	return p
}

func (g *generator) account(i int) *principal {
	names := []string{"log-collector", "ci-scanner", "terraform", "siem-export", "cspm-sync", "sensor", "ticket-bridge", "reporting"}
	types := []string{"THIRD_PARTY", "CLI", "THIRD_PARTY", "INTEGRATION", "THIRD_PARTY", "SENSOR", "INTEGRATION", "THIRD_PARTY"}
	p := &principal{
		kind: serviceAccount, id: g.lower(52), name: names[i%len(names)], typ: types[i%len(types)], clientID: g.lower(53),
		scopes: []string{"read:issues", "read:vulnerabilities", "admin:audit"}, deleted: i%9 == 8, made: started(i),
	}
	if i >= len(names) {
		p.name = fmt.Sprintf("%s-%d", p.name, i/len(names)+1)
	}
	p.email = p.name + "@service.example.com"
	g.equip(p, programs, 1)
	return p
}

// started is when an account was made: before anything the tenant remembers.
func started(i int) time.Time {
	return time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * 26 * time.Hour)
}

func (g *generator) equip(p *principal, agents []string, n int) {
	home := countries[g.rand.IntN(len(countries))]
	p.country = home.code
	p.ips = []string{fmt.Sprintf(home.v4, 1+g.rand.IntN(250))}
	if g.chance(0.4) {
		p.ips = append(p.ips, fmt.Sprintf(home.v6, 1+g.rand.IntN(0xfffe)))
	}
	for range n {
		p.agents = append(p.agents, pick(g, agents))
	}
}

func (g *generator) chance(p float64) bool { return g.rand.Float64() < p }

func pick[T any](g *generator, items []T) T { return items[g.rand.IntN(len(items))] }

// between draws a time from [from, to), in whole microseconds.
func (g *generator) between(from, to time.Time) time.Time {
	span := to.Sub(from) / time.Microsecond
	if span <= 0 {
		return to.UTC().Truncate(time.Microsecond)
	}
	return from.Add(time.Duration(g.rand.Int64N(int64(span))) * time.Microsecond).UTC().Truncate(time.Microsecond)
}

func (g *generator) uuid() string {
	return string(appendUUID(nil, g.rand.Uint64(), g.rand.Uint64()))
}

// appendUUID writes 128 bits as a random UUID, of which six bits are fixed.
func appendUUID(dst []byte, hi, lo uint64) []byte {
	const hex = "0123456789abcdef"
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		half, shift := hi, 60-4*(i%16)
		if i >= 16 {
			half = lo
		}
		dst = append(dst, hex[half>>shift&15])
	}
	return dst
}

// lower makes an identifier of small letters and digits.
func (g *generator) lower(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[g.rand.IntN(len(letters))]
	}
	return string(b)
}

func title(s string) string {
	if s == "" {
		return s
	}
	r := []rune(s)
	return strings.ToUpper(string(r[0])) + string(r[1:])
}

// raw writes a value as JSON, with the keys of objects in alphabetical order.
func raw(v any) jsontext.Value {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values built in this package come here
	}
	return b
}
