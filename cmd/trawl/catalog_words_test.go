package main

import (
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
)

// TestSignInWords: each way to sign in is called what it is.
func TestSignInWords(t *testing.T) {
	t.Parallel()
	for want, auth := range map[string]catalog.Auth{
		"a token":                         {Type: "token"},
		"a token in the header X-Api-Key": {Type: "token", Header: "X-Api-Key"},
		"HTTP Basic; if user is set":      {Type: "basic", If: map[string]string{"user": "?*"}},
		"OAuth 2: client_credentials":     {Type: "oauth2"},
		"OAuth 2: jwt-bearer, with a signed assertion": {Type: "oauth2", JWT: &catalog.JWT{},
			Params: map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}},
	} {
		if got := signInWords(auth); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
