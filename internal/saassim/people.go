package saassim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Person is somebody who does not exist. The addresses are those set aside for
// documentation.
type Person struct {
	First, Last string
	Email       string // at example.com
	Country     string // two letters; "" for addresses of no country
	IPs         []string
	Agents      []string // user agents
}

// Name is the first and the last.
func (p Person) Name() string { return p.First + " " + p.Last }

var firstNames = []string{"alice", "bob", "chloé", "dmitri", "eve", "farah", "grace", "henrik", "ines", "jun", "kofi", "lena",
	"mallory", "niamh", "omar", "priya", "quentin", "rosa", "søren", "tomoko", "uma", "viktor", "wei", "ximena", "yael", "zoë"}

var lastNames = []string{"brown", "okafor", "martin", "sato", "o'neill", "kowalska", "silva", "nguyen", "haddad", "lindqvist", "cohen", "rossi"}

var ascii = strings.NewReplacer("é", "e", "ø", "o", "ë", "e", "'", "")

var countries = []struct{ code, v4, v6 string }{
	{"US", "192.0.2.%d", "2001:db8:1::%x"}, {"DE", "198.51.100.%d", "2001:db8:2::%x"},
	{"IL", "203.0.113.%d", "2001:db8:3::%x"}, {"JP", "198.51.100.%d", "2001:db8:4::%x"},
	{"", "10.20.30.%d", "fd00:db8::%x"}, // an address of no country
}

// Browsers are user agents of people.
var Browsers = []string{
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
	"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.6668.100 Mobile Safari/537.36",
}

// Words are what people call the things they make; some are hard to carry.
var Words = []string{"nightly export", "Prod – read only", "payments <team>", `the "old" rule`, "tests\tand\nlines", "日本チーム", "🚨 on-call",
	"cost & usage", "temporary", "zone-b", "C:\\share\\reports", "élan", "a/b", "", "SOC2 evidence 2026", "x"}

// Person makes the i-th person of a tenant; the names differ for each.
func (d Dice) Person(i int) Person {
	first, last := firstNames[i%len(firstNames)], lastNames[(i/len(firstNames)+i%len(firstNames))%len(lastNames)]
	mail := ascii.Replace(first + "." + last)
	if round := i / (len(firstNames) * len(lastNames)); round > 0 {
		mail += fmt.Sprint(round)
	}
	p := Person{First: title(first), Last: title(last), Email: mail + "@example.com"}
	d.Equip(&p, Browsers, 1+i%2)
	return p
}

// Equip gives somebody addresses and so many of the user agents.
func (d Dice) Equip(p *Person, agents []string, n int) {
	home := countries[d.IntN(len(countries))]
	p.Country = home.code
	p.IPs = []string{fmt.Sprintf(home.v4, 1+d.IntN(250))}
	if d.Chance(0.4) {
		p.IPs = append(p.IPs, fmt.Sprintf(home.v6, 1+d.IntN(0xfffe)))
	}
	for range n {
		p.Agents = append(p.Agents, Pick(d, agents))
	}
}

func title(s string) string {
	r := []rune(s)
	return strings.ToUpper(string(r[0])) + string(r[1:])
}

// Chance is true with a probability.
func (d Dice) Chance(p float64) bool { return d.Float64() < p }

// Pick draws one of the items.
func Pick[T any](d Dice, items []T) T { return items[d.IntN(len(items))] }

// Between draws a time from [from, to), in whole microseconds; where from is
// not before to it is to.
func (d Dice) Between(from, to time.Time) time.Time {
	span := to.Sub(from) / time.Microsecond
	if span <= 0 {
		return to.UTC().Truncate(time.Microsecond)
	}
	return from.Add(time.Duration(d.Int64N(int64(span))) * time.Microsecond).UTC().Truncate(time.Microsecond)
}

// UUID makes a random one.
func (d Dice) UUID() string { return string(AppendUUID(nil, d.Uint64(), d.Uint64())) }

// AppendUUID writes 128 bits as a random UUID, of which six bits are fixed.
func AppendUUID(dst []byte, hi, lo uint64) []byte {
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

// Letters for Dice.Text.
const (
	Digits  = "0123456789"
	Hex     = "0123456789abcdef"
	Lower   = "abcdefghijklmnopqrstuvwxyz0123456789"
	Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// Text draws so many of some letters.
func (d Dice) Text(n int, letters string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[d.IntN(len(letters))]
	}
	return string(b)
}

// Raw writes a value as JSON, with the keys of objects in alphabetical order.
// It panics on what has no JSON.
func Raw(v any) jsontext.Value {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values built by the products come here
	}
	return b
}
