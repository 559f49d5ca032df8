package saassim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Assertion is a signed JWT in which a client says who it is. Only its form has
// been looked at.
type Assertion struct {
	KeyID, Algorithm string
	Claims           map[string]any
	signed           string
	signature        []byte
}

// ParseAssertion reads a JWT. It fails on what does not have the form of one.
func ParseAssertion(text string) (Assertion, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Assertion{}, fmt.Errorf("read JWT: %d parts in place of 3", len(parts))
	}
	a := Assertion{signed: parts[0] + "." + parts[1]}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	for i, into := range []any{&header, &a.Claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			return Assertion{}, fmt.Errorf("read JWT: part %d: %w", i+1, err)
		}
	}
	var err error
	if a.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return Assertion{}, fmt.Errorf("read JWT: part 3: %w", err)
	}
	a.Algorithm, a.KeyID = header.Alg, header.Kid
	return a, nil
}

var algorithmHashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// Verify checks the signature: RS256, RS384 or RS512 by an RSA key, ES256, ES384
// or ES512 by an elliptic one. Nothing else is good, "none" least of all.
func (a Assertion) Verify(key crypto.PublicKey) error {
	bad := errors.New("verify JWT: the signature does not fit")
	kind, size := "", ""
	if len(a.Algorithm) == 5 {
		kind, size = a.Algorithm[:2], a.Algorithm[2:]
	}
	hash, ok := algorithmHashes[size]
	if !ok {
		return fmt.Errorf("verify JWT: algorithm %q", a.Algorithm)
	}
	h := hash.New()
	h.Write([]byte(a.signed))
	digest := h.Sum(nil)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if kind == "RS" && rsa.VerifyPKCS1v15(key, hash, digest, a.signature) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		half := (key.Curve.Params().BitSize + 7) / 8
		if kind == "ES" && len(a.signature) == 2*half &&
			ecdsa.Verify(key, digest, new(big.Int).SetBytes(a.signature[:half]), new(big.Int).SetBytes(a.signature[half:])) {
			return nil
		}
	}
	return bad
}

// Text is a claim that is a text, "" for another.
func (a Assertion) Text(claim string) string {
	s, _ := a.Claims[claim].(string)
	return s
}

// Time is a claim that is a time in seconds, and whether there is one.
func (a Assertion) Time(claim string) (time.Time, bool) {
	n, ok := a.Claims[claim].(float64)
	return time.Unix(int64(n), 0), ok
}

// For tells whether the audience is one of the texts, or a list with one of
// them in it.
func (a Assertion) For(audiences ...string) bool {
	given, ok := a.Claims["aud"].([]any)
	if !ok {
		given = []any{a.Claims["aud"]}
	}
	for _, g := range given {
		for _, want := range audiences {
			if g == want {
				return true
			}
		}
	}
	return false
}

// Once remembers ids that may be used once. The zero value is ready; it may be
// used from several goroutines at once.
type Once struct {
	mu   sync.Mutex
	seen map[string]time.Time // until when
}

// Use tells whether an id was not used before. It is remembered until a time.
func (o *Once) Use(id string, now, until time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string]time.Time{}
	}
	for old, end := range o.seen {
		if now.After(end) {
			delete(o.seen, old)
		}
	}
	if _, used := o.seen[id]; used {
		return false
	}
	o.seen[id] = until
	return true
}

// SigningKey is a client's pair of keys.
type SigningKey struct {
	Private string // PKCS#8 as PEM
	Public  crypto.PublicKey
}

// NewSigningKey makes a pair of RSA keys of 2048 bits. It is really random,
// whatever the seed of a tenant.
func NewSigningKey() (SigningKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	return SigningKey{Private: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), Public: key.Public()}, nil
}
