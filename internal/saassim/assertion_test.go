package saassim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

func part(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curveKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := part(t, map[string]any{"iss": "me", "exp": 1700000000, "aud": []string{"a", "b"}})
	sign := map[string]func(digest []byte) ([]byte, error){
		"RS256": func(d []byte) ([]byte, error) { return rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, d) },
		"ES256": func(d []byte) ([]byte, error) {
			r, s, err := ecdsa.Sign(rand.Reader, curveKey, d)
			if err != nil {
				return nil, err
			}
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
		},
	}
	for alg, keys := range map[string][2]crypto.PublicKey{"RS256": {rsaKey.Public(), curveKey.Public()}, "ES256": {curveKey.Public(), rsaKey.Public()}} {
		signed := part(t, map[string]any{"alg": alg, "kid": "k"}) + "." + claims
		digest := sha256.Sum256([]byte(signed))
		signature, err := sign[alg](digest[:])
		if err != nil {
			t.Fatal(err)
		}
		text := signed + "." + base64.RawURLEncoding.EncodeToString(signature)
		a, err := ParseAssertion(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Verify(keys[0]); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if a.Verify(keys[1]) == nil {
			t.Errorf("%s: the signature fits another key", alg)
		}
		end, ok := a.Time("exp")
		if a.KeyID != "k" || a.Text("iss") != "me" || a.Text("exp") != "" || !ok || end.Unix() != 1700000000 || !a.For("x", "b") || a.For("c") {
			t.Errorf("%s: %+v", alg, a)
		}
		for _, header := range []string{"none", "HS256", "PS256", "RS512", "ES384", "RS", ""} {
			forged, err := ParseAssertion(part(t, map[string]any{"alg": header, "kid": "k"}) + "." + claims + "." + base64.RawURLEncoding.EncodeToString(signature))
			if err != nil || forged.Verify(keys[0]) == nil {
				t.Errorf("%s: algorithm %q, %v", alg, header, err)
			}
		}
	}
}

func FuzzParseAssertion(f *testing.F) {
	for _, seed := range []string{"", "a.b", "..", "e30.e30.", "e30.W10.AA", "bnVsbA.bnVsbA.", "e30.e30.AA.AA", "eyJhbGciOjF9.e30.", "e30.eyJhdWQiOltbXV19.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAssertion(text)
		if err != nil {
			return
		}
		if a.For("nobody", "") && a.Claims["aud"] == nil {
			t.Error("no audience is an audience")
		}
		if a.Verify(&rsa.PublicKey{}) == nil {
			t.Error("an empty key fits")
		}
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	var o Once
	now := time.Now()
	if !o.Use("a", now, now.Add(time.Minute)) || o.Use("a", now.Add(time.Minute), now.Add(time.Hour)) || !o.Use("b", now, now.Add(time.Minute)) {
		t.Error("an id can be used twice, or another not at all")
	}
	if !o.Use("a", now.Add(2*time.Minute), now.Add(time.Hour)) {
		t.Error("an id is remembered for ever")
	}
}
