package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// place is where a check notes its mistakes.
type place struct{ strictyaml.Place }

func (p place) at(path ...string) place { return place{p.At(path...)} }

// The words that the format knows.
var (
	settingTypes = []string{"string", "duration", "url", "map"}
	authTypes    = []string{"oauth2", "token", "basic"}
	algorithms   = []string{"RS256", "RS384", "RS512"}
	ends         = []string{"no_cursor", "empty"}
	ruleClasses  = []string{"retry", "throttle", "auth", "forbidden", "permanent"}
	classes      = append(slices.Clone(ruleClasses), "partial", "too_large")
	kinds        = []string{"log", "state"}
	methods      = []string{"GET", "POST"}
	pageNames    = []string{"since", "until", "cursor", "offset", "page", "page_size", "time_field"} // what a request may also use in ${}
	timeNames    = []string{"since", "until", "time_field"}                                          // of them, those that say a stretch of time
	streamNames  = []string{"since", "cursor", "page_size"}                                          // what a stream's request may
	nestedNames  = []string{"id", "cursor", "page_size"}                                             // and one for a list within a record
)

func checkProduct(doc *strictyaml.Document, folder string, p *Product) {
	top := place{doc.At()}
	top.at("product").isFileName(p.ID, folder, "folder")
	for name, s := range p.Settings {
		checkSetting(top.at("settings", name), name, s)
	}
	names := p.names()
	for name, cases := range p.Derived {
		at := top.at("derived", name)
		at.isName(name)
		if _, twice := p.Settings[name]; twice {
			at.Mistake("a setting has this name too; take another")
		}
		at.cases(cases, names)
	}
	checkCircles(top, p)
	top.at("base_url").cases(p.BaseURL, names)
	for header, value := range p.Headers {
		top.at("headers", header).text(value, names)
	}
	if len(p.Auth) == 0 {
		top.at("auth").Mistake("needs at least one way to sign in")
	}
	for i := range p.Auth {
		checkAuth(top.at("auth", strconv.Itoa(i)), p, i)
	}
	if p.Budget != nil {
		checkBudget(top.at("budget"), *p.Budget)
	}
	if p.Rate.PerSecond <= 0 {
		top.at("rate_limit", "requests_per_second").Mistake("must be more than 0")
	}
	if p.Rate.Burst < 1 {
		top.at("rate_limit", "burst").Mistake("must be at least 1")
	}
	for i, rule := range p.Errors {
		checkErrorRule(top.at("errors", strconv.Itoa(i)), rule)
	}
	for class := range p.Advice {
		top.at("advice", class).isOneOf(class, classes)
	}
	if p.Reports != nil {
		checkReports(top.at("reports"), p)
	}
	top.at("links").links(p.Links)
	ids := map[string]bool{}
	for i, c := range p.Collection {
		at := top.at("collection", strconv.Itoa(i))
		at.at("id").isName(c.ID)
		if ids[c.ID] {
			at.at("id").Mistake("another way of collection has this id; take another")
		}
		ids[c.ID] = true
		at.at("references").links(c.References)
	}
}

// names are what ${} may refer to everywhere in a product: settings with a text,
// and derived names.
func (p *Product) names() []string {
	names := slices.Collect(maps.Keys(p.Derived))
	for name, s := range p.Settings {
		if s.Type != "map" {
			names = append(names, name)
		}
	}
	return names
}

func checkSetting(at place, name string, s Setting) {
	at.isName(name)
	if slices.Contains(pageNames, name) || slices.Contains(nestedNames, name) || name == jwtName {
		at.Mistake("requests use this name themselves; take another")
	}
	if s.Type != "" {
		at.at("type").isOneOf(s.Type, settingTypes)
	}
	if s.Secret && (s.Default != "" || s.Example != "") {
		at.Mistake("a secret has no default and no example; take them out")
	}
	if s.Required && s.Default != "" {
		at.at("default").Mistake("a required setting has no default; take out one of the two")
	}
	if s.Type == "map" && (s.Default != "" || s.Pattern != "") {
		at.Mistake("a map has no default and no pattern; take them out")
	}
	if _, err := regexp.Compile(s.Pattern); err != nil {
		at.at("pattern").Mistake("%v", err)
		return
	}
	for key, value := range map[string]string{"default": s.Default, "example": s.Example} {
		if value == "" || s.Type == "map" {
			continue
		}
		if err := s.Check(value); err != nil {
			at.at(key).Mistake("%q does not fit the setting itself: %v", value, err)
		}
	}
}

// Check says what keeps a value from being one of this setting. The error does
// not show the value.
func (s Setting) Check(value string) error {
	switch s.Type {
	case "duration":
		if _, err := ParseDuration(value); err != nil {
			return fmt.Errorf("must be a duration, as in 30s, 5m, 24h or 180d")
		}
	case "url":
		if err := checkURL(value); err != nil {
			return err
		}
	}
	if s.Pattern == "" {
		return nil
	}
	if re, err := regexp.Compile("^(?:" + s.Pattern + ")$"); err == nil && !re.MatchString(value) {
		return fmt.Errorf("must match %s", s.Pattern)
	}
	return nil
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("must be an address, as in https://host/path")
	}
	return nil
}

// checkCircles finds derived names that depend on themselves.
func checkCircles(top place, p *Product) {
	var visit func(name string, above []string) bool
	visit = func(name string, above []string) bool {
		if slices.Contains(above, name) {
			return name == above[0]
		}
		above = append(above, name)
		for _, c := range p.Derived[name] {
			parts, _ := Parts(c.Value)
			for _, part := range parts {
				if part.Name != "" && visit(part.Name, above) {
					return true
				}
			}
			for dependency := range c.If {
				if visit(dependency, above) {
					return true
				}
			}
		}
		return false
	}
	for name := range p.Derived {
		if visit(name, nil) {
			top.at("derived", name).Mistake("depends on itself")
		}
	}
}

func checkErrorRule(at place, r ErrorRule) {
	at.at("class").isOneOf(r.Class, ruleClasses)
	for i, status := range r.Status {
		if status < 100 || status > 599 {
			at.at("status", strconv.Itoa(i)).Mistake("%d is not an HTTP status; those are 100 to 599", status)
		}
	}
	if len(r.Status) == 0 && r.Path == "" {
		at.Mistake("matches every answer; give it a status, or a path and match")
	}
	if (r.Path == "") != (len(r.Match) == 0) {
		at.Mistake("path and match go together; give both or neither")
	}
	at.at("path").jsonPath(r.Path)
	at.at("retry_after").jsonPath(r.RetryAfter)
}

// The checks of single values. They pass over empty ones, which decoding has
// complained of if they are required.

func (p place) isName(name string) {
	if !nameForm.MatchString(name) {
		p.Mistake("%q is not a name; use a-z, 0-9 and _, a letter first", name)
	}
}

func (p place) isFileName(id, file, what string) {
	if id == "" {
		return
	}
	p.isName(id)
	if id != file {
		p.Mistake("%q has to be the name of its %s, %q; change one of them", id, what, file)
	}
}

func (p place) isOneOf(word string, known []string) {
	if word != "" && !slices.Contains(known, word) {
		p.Mistake("%q is not known here; %s", word, strictyaml.Suggest(word, known))
	}
}

// text checks the ${names} of a text.
func (p place) text(s string, names []string) {
	parts, err := Parts(s)
	if err != nil {
		p.Mistake("%v", err)
	}
	for _, part := range parts {
		if part.Name != "" && !slices.Contains(names, part.Name) {
			p.Mistake("nothing is called ${%s}; %s", part.Name, strictyaml.Suggest(part.Name, names))
		}
	}
}

func (p place) cases(cases Cases, names []string) {
	if len(cases) == 0 {
		p.Mistake("needs at least one case")
	}
	for i, c := range cases {
		at := p.at(strconv.Itoa(i))
		if (c.Value == "") == (c.Claim == "") {
			at.Mistake("a case has either a value or a claim")
		}
		at.at("value").text(c.Value, names)
		at.at("if").conditions(c.If, names)
		if len(c.If) == 0 && c.Claim == "" && i < len(cases)-1 {
			at.Mistake("always holds, so the cases after it are never reached; move it to the end")
		}
	}
}

// conditions checks what has to hold for a case, or a way to sign in.
func (p place) conditions(globs map[string]string, names []string) {
	for name := range globs {
		if !slices.Contains(names, name) {
			p.at(name).Mistake("nothing is called %s; %s", name, strictyaml.Suggest(name, names))
		}
	}
}

func (p place) jsonPath(path string) {
	if path == "" {
		return
	}
	if _, err := jsonscan.ParsePath(path); err != nil {
		p.Mistake("%v", err)
	}
}

// paths checks what is written as a list of paths or as one.
func (p place) paths(paths Paths) {
	if p.Raw() != "" {
		p.jsonPath(paths[0])
		return
	}
	for i, path := range paths {
		at := p.at(strconv.Itoa(i))
		if path == "" {
			at.Mistake("must not be empty")
		}
		at.jsonPath(path)
	}
}

// span checks that there is a length of time, and that it is more than none.
func (p place) span(d Duration, example, why string) {
	switch {
	case d > 0:
	case p.Raw() == "":
		p.Mistake("is missing: %s; add it, as in %s", why, example)
	default:
		p.Mistake("must be more than 0: %s", why)
	}
}

func (p place) links(links []Link) {
	for i, link := range links {
		if err := checkURL(link.URL); err != nil && link.URL != "" {
			p.at(strconv.Itoa(i), "url").Mistake("%v", err)
		}
	}
}
