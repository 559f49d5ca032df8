package ecs

import (
	"net/url"
	"strings"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// The fields that a user agent and a URL fill, below the field they are given to.
var (
	agentFields = []string{"original", "name", "version", "device.name", "os.name", "os.version"}
	urlFields   = []string{"original", "scheme", "username", "domain", "port", "path", "query", "fragment"}
)

// agent is what the rules say of a user agent: its parts but the first, as JSON
// strings, nil where there is none.
type agent [5][]byte

// parsedAgent is the last user agent, so that its parts are looked up once.
type parsedAgent struct {
	text  []byte // a copy
	agent *agent
}

const maxAgent = 1024 // bytes of a user agent that are looked at

// agents is shared by all mappers, as the rules are costly to run.
var agents = newCache[*agent](4096)

// agentPart writes a part of a user agent.
func (st *state) agentPart(dst []byte, e *expr, text []byte) ([]byte, bool) {
	if e.part == 0 {
		return jsonscan.AppendString(dst, text), true
	}
	text = text[:min(len(text), maxAgent)]
	if st.agent.text == nil || string(st.agent.text) != string(text) {
		st.agent = parsedAgent{append(st.agent.text[:0], text...), findAgent(text)}
	}
	value := st.agent.agent[e.part-1]
	return append(dst, value...), value != nil
}

func findAgent(text []byte) *agent {
	if a, ok := agents.get(text); ok {
		return a
	}
	a := &agent{}
	if rules := agentRules(); rules != nil {
		program, os, device := rules.parse(string(text))
		for i, value := range []string{program.Family, program.ToVersionString(), device.Family, os.Family, os.ToVersionString()} {
			if value != "" {
				a[i] = jsonscan.AppendString(nil, []byte(value))
			}
		}
	}
	agents.put(text, a)
	return a
}

// parsedURL is the last URL.
type parsedURL struct {
	text []byte   // a copy
	url  *url.URL // nil: it is none
}

// urlPart writes a part of a URL. isURL is false where the text is none.
func (st *state) urlPart(dst []byte, e *expr, text []byte) (_ []byte, ok, isURL bool) {
	if st.url.text == nil || string(st.url.text) != string(text) {
		u, err := url.Parse(string(text))
		if err != nil || u.Scheme == "" || u.Host == "" {
			u = nil
		}
		st.url = parsedURL{append(st.url.text[:0], text...), u}
	}
	u := st.url.url
	if u == nil {
		return dst, false, false
	}
	var value string
	switch urlFields[e.part] {
	case "original":
		return jsonscan.AppendString(dst, text), true, true
	case "scheme":
		value = u.Scheme
	case "username":
		value = u.User.Username()
	case "domain":
		value = strings.Trim(u.Hostname(), "[]")
	case "port":
		port, ok := wholeNumber([]byte(u.Port()))
		return append(dst, port...), ok, true
	case "path":
		value = u.EscapedPath()
	case "query":
		value = u.RawQuery
	case "fragment":
		value = u.EscapedFragment()
	}
	return jsonscan.AppendString(dst, []byte(value)), value != "", true
}
