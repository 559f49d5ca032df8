package fetch

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/trawlsec/trawl/internal/catalog"
)

// Vault keeps, for a connection whose refresh token is replaced at each
// sign-in, the one that comes next. What it is given is encrypted: without the
// connection's own credential it is worth nothing.
type Vault interface {
	// Load gives what was stored last; nil: nothing was.
	Load(ctx context.Context) ([]byte, error)
	// Store keeps it in place of what was stored before. Once it returns nil,
	// no crash may lose it.
	Store(ctx context.Context, sealed []byte) error
}

const (
	vaultTimeout   = 30 * time.Second // for one look into the vault
	rotatingAnswer = 20 * time.Second // that stopping waits for an answer with the next refresh token
)

// rotating is the refresh token of a connection whose server replaces it.
type rotating struct {
	client     *Client
	configured string // as the settings have it
	secret     string // what the kept one is encrypted with
	current    string // what to sign in with
	strange    bool   // one is kept, but cannot be read with these settings
}

// refreshToken says which refresh token is the one to sign in with: the kept
// one, if it descends from the one that the settings hold.
func (c *Client) refreshToken(ctx context.Context, n *names, auth *catalog.Auth) (*rotating, error) {
	r := &rotating{client: c}
	var err error
	if r.configured, err = n.expand("${" + auth.Rotates + "}"); err != nil {
		return nil, err
	}
	secret, _, err := n.optional(auth.ClientSecret)
	if err != nil {
		return nil, err
	}
	r.secret = cmp.Or(secret, r.configured)
	r.current = r.configured
	if c.opts.Vault == nil {
		return nil, errors.New("this sign-in may replace the refresh token, and there is nowhere to keep the next one")
	}
	if next := c.unstored; next != nil && next.of == r.configured {
		r.current = next.token
		return r, r.store(ctx, next.token)
	}
	ctx, cancel := context.WithTimeout(ctx, vaultTimeout)
	defer cancel()
	sealed, err := c.opts.Vault.Load(ctx)
	if err != nil {
		return nil, &vaultError{fmt.Errorf("read the kept refresh token: %w", err)}
	}
	if sealed == nil {
		return r, nil
	}
	kept, ok := unseal(c.opts.Name, r.secret, r.configured, sealed)
	if r.strange = !ok; ok {
		c.scrub.add(kept)
		r.current = kept
	}
	return r, nil
}

// unstored is a refresh token that has not reached the vault yet.
type unstored struct{ of, token string }

// store puts the next refresh token into the vault, or remembers it until that
// is possible: the one before may not be good any more.
func (r *rotating) store(ctx context.Context, next string) error {
	r.client.scrub.add(next)
	r.client.unstored = &unstored{r.configured, next}
	sealed, err := seal(r.client.opts.Name, r.secret, r.configured, next)
	if err != nil {
		return fmt.Errorf("keep the refresh token: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vaultTimeout)
	defer cancel()
	if err := r.client.opts.Vault.Store(ctx, sealed); err != nil {
		return &vaultError{fmt.Errorf("keep the refresh token: %w", err)}
	}
	r.client.unstored = nil
	return nil
}

// vaultError is a vault that does not work at the moment.
type vaultError struct{ err error }

func (e *vaultError) Error() string { return e.err.Error() }
func (e *vaultError) Unwrap() error { return e.err }

// sealed is what the vault holds.
type sealed struct {
	Version int    `json:"version"` // 1
	Salt    []byte `json:"salt"`    // of both keys
	Of      []byte `json:"of"`      // HMAC-SHA256 of the refresh token in the settings that this one descends from
	Token   []byte `json:"token"`   // AES-256-GCM, its nonce first
}

const sealedVersion = 1

// keys are derived from the credential by HKDF-SHA256: one to encrypt with, one
// to tell whether the settings hold another refresh token now. They are bound
// to the connection.
func (s *sealed) keys(connection, secret string) (aead cipher.AEAD, compare []byte, err error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), s.Salt, "trawl refresh token of "+connection, 32)
	if err != nil {
		return nil, nil, err
	}
	if compare, err = hkdf.Key(sha256.New, []byte(secret), s.Salt, "trawl configured refresh token of "+connection, 32); err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err = cipher.NewGCMWithRandomNonce(block)
	return aead, compare, err
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// seal encrypts a refresh token with the credential.
func seal(connection, secret, configured, token string) ([]byte, error) {
	s := sealed{Version: sealedVersion, Salt: make([]byte, 32)}
	_, _ = rand.Read(s.Salt) // never fails
	aead, compare, err := s.keys(connection, secret)
	if err != nil {
		return nil, err
	}
	s.Of = mac(compare, configured)
	s.Token = aead.Seal(nil, nil, []byte(token), s.Of)
	return json.Marshal(s)
}

// unseal is the reverse; ok is false where the credential or the refresh token
// in the settings is another than then, or the data are damaged.
func unseal(connection, secret, configured string, data []byte) (token string, ok bool) {
	var s sealed
	if err := json.Unmarshal(data, &s); err != nil || s.Version != sealedVersion {
		return "", false
	}
	aead, compare, err := s.keys(connection, secret)
	if err != nil || !hmac.Equal(s.Of, mac(compare, configured)) {
		return "", false
	}
	plain, err := aead.Open(nil, nil, s.Token, s.Of)
	return string(plain), err == nil
}
