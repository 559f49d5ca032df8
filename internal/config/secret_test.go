package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
)

// TestNothingShowsSecrets prints a configuration full of them in every way.
func TestNothingShowsSecrets(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(`
connections:
  a:
    product: wiz
    settings: {client_id: CANARY, client_secret: "${env:WIZ_CLIENT_SECRET}-CANARY", headers: {X-Key: CANARY}}
    http: {proxy_url: "http://user:CANARY@proxy:3128"}
outputs: {o: {type: file, path: o}}
log: {url: "nats://user:CANARY@nats:4222"}
`, "CANARY", canary)
	c, err := parse("trawl.yaml", []byte(text), testCatalogue, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Connections[0]
	if got, _, _ := conn.Settings.Get("client_secret"); got != canary+"-"+canary || !strings.Contains(conn.HTTP.ProxyURL.Reveal(), canary) {
		t.Fatalf("the secrets are not there")
	}
	secret := NewSecret(canary)
	values := map[string]any{
		"config": c, "config value": *c, "connection": conn, "settings": conn.Settings, "settings value": *conn.Settings, "log": c.Log, "http": conn.HTTP,
		"secret": secret, "secret pointer": &secret, "unexported": struct{ s Secret }{secret}, "slice": []Secret{secret}, "map": map[string]Secret{"k": secret},
	}
	for name, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v, fmt.Errorf("wrapped: %v", v))
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			log := slog.New(h)
			log.Info("m", "v", v, slog.Group("g", "v", v))
			log.With("v", v).Info("m")
		}
		for _, marshal := range []func(any) ([]byte, error){
			json.Marshal,
			func(v any) ([]byte, error) { return jsonv2.Marshal(v) },
			func(v any) ([]byte, error) { return yaml.Marshal(v) },
		} {
			text, err := marshal(v)
			fmt.Fprintf(&out, "%s %v\n", text, err)
		}
		if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
			t.Errorf("%s shows a secret", name)
		}
		if name == "secret" && !strings.Contains(out.String(), redacted) {
			t.Errorf("a secret prints as %s", out.String())
		}
	}
}
