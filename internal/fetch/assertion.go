package fetch

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/youmark/pkcs8"

	"github.com/trawlsec/trawl/internal/catalog"
)

const (
	nameAssertion    = "jwt" // what params call the assertion
	defaultAlgorithm = "RS256"
	defaultLifetime  = 45 * time.Second // of an assertion: less than the minute that some servers allow, for clocks that differ a little
)

var algorithms = map[string]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512}

// assertion makes a JWT that nobody has seen before, as of now, and signs it.
// It names the settings in its errors, and shows none of their values.
func assertion(n *names, spec *catalog.JWT, now time.Time) (string, error) {
	key, err := signingKey(n, spec)
	if err != nil {
		return "", err
	}
	algorithm, _, err := n.optional(spec.Algorithm)
	if err != nil {
		return "", err
	}
	algorithm = cmp.Or(algorithm, defaultAlgorithm)
	hash, known := algorithms[algorithm]
	if !known {
		return "", fmt.Errorf("sign: the algorithm %q is none of RS256, RS384 and RS512", algorithm)
	}
	header := map[string]any{"alg": algorithm, "typ": "JWT"}
	if id, ok, err := n.optional(spec.KeyID); err != nil {
		return "", err
	} else if ok && id != "" {
		header["kid"] = id
	}
	claims := map[string]any{
		"iat": now.Unix(),
		"exp": now.Add(cmp.Or(spec.Lifetime.Std(), defaultLifetime)).Unix(),
		"jti": rand.Text(),
	}
	for name, text := range spec.Claims {
		if claims[name], err = n.expand(text); err != nil {
			return "", err
		}
	}
	var parts [2]string
	for i, part := range []any{header, claims} {
		encoded, err := json.Marshal(part, json.Deterministic(true))
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(encoded)
	}
	signed := parts[0] + "." + parts[1]
	digest := hash.New()
	digest.Write([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, hash, digest.Sum(nil))
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", settingNames(n.product, spec.Key), err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// signingKey reads the private key that the settings hold.
func signingKey(n *names, spec *catalog.JWT) (*rsa.PrivateKey, error) {
	text, err := n.expand(spec.Key)
	if err != nil {
		return nil, err
	}
	passphrase, _, err := n.optional(spec.Passphrase)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text, passphrase)
	if errors.Is(err, errEncrypted) && spec.Passphrase != "" {
		err = fmt.Errorf("%w: set %s", err, settingNames(n.product, spec.Passphrase))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", settingNames(n.product, spec.Key), err)
	}
	return key, nil
}

var errEncrypted = errors.New("the key is encrypted")

// parseKey reads an RSA key in PEM: PKCS #1, or PKCS #8, which may be encrypted.
// Its line breaks may be written as \n, as they are in JSON. Its errors show
// nothing of the key.
func parseKey(text, passphrase string) (*rsa.PrivateKey, error) {
	if !strings.Contains(strings.TrimSpace(text), "\n") {
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil {
		return nil, errors.New("it is no key in PEM form")
	}
	var key any
	var err error
	switch {
	case block.Headers["DEK-Info"] != "":
		return nil, errors.New("the key is encrypted in an old form; convert it with openssl pkcs8 -topk8")
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "ENCRYPTED PRIVATE KEY" && passphrase == "":
		return nil, errEncrypted
	case block.Type == "ENCRYPTED PRIVATE KEY":
		if key, err = decrypt(block.Bytes, passphrase); err != nil {
			return nil, errors.New("the key does not open with its passphrase, or is encrypted in a way that is not known here")
		}
	default:
		return nil, fmt.Errorf("it holds no private key, but %q", block.Type)
	}
	if err != nil {
		return nil, errors.New("the key is damaged, or of a kind that is not known here")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is no RSA key")
	}
	return private, nil
}

// decrypt opens a PKCS #8 key. The library panics where lengths in a damaged
// one do not fit.
func decrypt(der []byte, passphrase string) (key any, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("damaged")
		}
	}()
	return pkcs8.ParsePKCS8PrivateKey(der, []byte(passphrase))
}
