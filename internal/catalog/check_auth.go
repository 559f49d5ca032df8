package catalog

import (
	"slices"
	"strconv"
	"strings"
)

// jwtName is what params call the assertion that JWT makes.
const jwtName = "jwt"

// checkAuth checks the i-th way to sign in.
func checkAuth(at place, p *Product, i int) {
	a := p.Auth[i]
	names := p.names()
	at.at("if").conditions(a.If, names)
	if len(a.If) == 0 && i < len(p.Auth)-1 {
		at.Mistake("always holds, so the ways to sign in after it are never taken; move it to the end")
	}
	at.at("type").isOneOf(a.Type, authTypes)
	oauth2 := map[string]string{
		"token_url": a.TokenURL, "client_id": a.ClientID, "client_secret": a.ClientSecret, "rotates": a.Rotates,
		"extra_params": a.ExtraParams, "extra_headers": a.ExtraHeaders, "refresh_margin": a.RefreshMargin,
	}
	token := map[string]string{"token": a.Token, "header": a.Header, "scheme": a.Scheme}
	basic := map[string]string{"username": a.Username, "password": a.Password}
	switch a.Type {
	case "oauth2":
		at.only(a.Type, token)
		at.only(a.Type, basic)
		at.needs(a.Type, oauth2, "token_url")
		checkGrant(at, a, oauth2)
	case "token":
		at.only(a.Type, oauth2)
		at.only(a.Type, basic)
		at.needs(a.Type, token, "token")
		at.at("header").isHeader(a.Header)
	case "basic":
		at.only(a.Type, oauth2)
		at.only(a.Type, token)
		at.needs(a.Type, basic, "username")
	}
	if a.Type != "oauth2" {
		if len(a.Params) > 0 {
			at.at("params").Mistake("goes with oauth2 only; take it out")
		}
		if a.JWT != nil {
			at.at("jwt").Mistake("goes with oauth2 only; take it out")
		}
	}
	for key, value := range map[string]string{"token_url": a.TokenURL, "client_id": a.ClientID, "client_secret": a.ClientSecret, "token": a.Token, "refresh_margin": a.RefreshMargin, "username": a.Username, "password": a.Password} {
		at.at(key).text(value, names)
	}
	if strings.ContainsAny(a.Scheme, " \t$") {
		at.at("scheme").Mistake("must be one word, as in Bearer")
	}
	for key, setting := range map[string]string{"extra_params": a.ExtraParams, "extra_headers": a.ExtraHeaders} {
		if setting != "" && p.Settings[setting].Type != "map" {
			at.at(key).Mistake("%q is not a setting of type map", setting)
		}
	}
	if _, err := ParseDuration(a.RefreshMargin); err != nil && a.RefreshMargin != "" && !strings.Contains(a.RefreshMargin, "${") {
		at.at("refresh_margin").Mistake("%v", err)
	}
	if a.JWT != nil {
		checkJWT(at.at("jwt"), *a.JWT, names)
		names = append(names, jwtName)
		if !a.uses(jwtName) {
			at.at("jwt").Mistake("nothing sends it; add ${jwt} to params, as in assertion: ${jwt}")
		}
	}
	for key, value := range a.Params {
		at.at("params", key).text(value, names)
	}
	if a.Rotates == "" {
		return
	}
	switch setting, known := p.Settings[a.Rotates]; {
	case !known || !setting.Secret:
		at.at("rotates").Mistake("%q is not a setting that is secret", a.Rotates)
	case !a.uses(a.Rotates):
		at.at("rotates").Mistake("nothing sends ${%s}; add it to params", a.Rotates)
	}
}

// checkGrant finds what the form of the grant lacks.
func checkGrant(at place, a Auth, fields map[string]string) {
	grant := a.Params["grant_type"]
	_, asserted := a.Params["client_assertion"]
	if !asserted && (grant == "" || grant == "client_credentials") {
		at.needs("the grant client_credentials", fields, "client_id", "client_secret")
	}
	if _, ok := a.Params["refresh_token"]; grant == "refresh_token" && !ok {
		at.at("params").Mistake("the grant refresh_token needs one; add refresh_token")
	}
}

func checkJWT(at place, j JWT, names []string) {
	for key, value := range map[string]string{"key": j.Key, "passphrase": j.Passphrase, "key_id": j.KeyID, "algorithm": j.Algorithm} {
		at.at(key).text(value, names)
	}
	if !strings.Contains(j.Algorithm, "${") {
		at.at("algorithm").isOneOf(j.Algorithm, algorithms)
	}
	for key, value := range j.Claims {
		if slices.Contains([]string{"iat", "exp", "jti"}, key) {
			at.at("claims", key).Mistake("every assertion has one of its own; take it out")
		}
		at.at("claims", key).text(value, names)
	}
}

// uses tells whether a text of params holds ${name}.
func (a *Auth) uses(name string) bool {
	for _, text := range a.Params {
		parts, _ := Parts(text)
		if slices.ContainsFunc(parts, func(p Part) bool { return p.Name == name }) {
			return true
		}
	}
	return false
}

// needs finds those of the keys that are not set.
func (p place) needs(what string, fields map[string]string, keys ...string) {
	for _, key := range keys {
		if fields[key] == "" {
			p.at(key).Mistake("%s needs it; add it", what)
		}
	}
}

// only finds fields that are set, though they are of another type.
func (p place) only(what string, others map[string]string) {
	for key, value := range others {
		if value != "" {
			p.at(key).Mistake("does not go with %s; take it out", what)
		}
	}
}

func checkBudget(at place, b Budget) {
	switch {
	case b.Header != "" && b.Remaining+b.Limit != "":
		at.at("header").Mistake("holds both numbers, so there is no limit or remaining beside it; take them out")
	case b.Header == "" && b.Remaining == "":
		at.Mistake("needs header, which holds used/limit, or remaining")
	case b.Header == "" && b.Limit == "" && b.Reset == "":
		at.at("remaining").Mistake("says nothing by itself; add limit, reset or both")
	}
	for key, name := range map[string]string{"header": b.Header, "limit": b.Limit, "remaining": b.Remaining, "reset": b.Reset} {
		at.at(key).isHeader(name)
	}
}

// isHeader checks the name of a header.
func (p place) isHeader(name string) {
	for _, r := range name {
		if !strings.ContainsRune("-_", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			p.Mistake("%q is not the name of a header", name)
			return
		}
	}
}

// checkStream checks how new records are followed; names are the product's.
func checkStream(at place, s *Source, names []string, sound bool) {
	if sound {
		checkRequest(at.at("request"), s.Stream.Request, append(names, streamNames...))
	}
	for i, ignored := range s.Stream.Ignore {
		if ignored == "" {
			at.at("ignore", strconv.Itoa(i)).Mistake("must not be empty; an empty position says nothing anyway")
		}
	}
	if s.Kind == "state" {
		at.Mistake("a state has no stream; take it out, or make the kind log")
	}
	if s.Paging.Cursor == "" && s.Paging.NextURL == "" && s.Paging.Link == "" {
		at.Mistake("needs paging.cursor, paging.next_url or paging.link, which say where the position stands")
	}
}
