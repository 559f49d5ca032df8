package fetch

import (
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

// serve starts a real server: page answers page requests, token requests get a token.
func serve(t *testing.T, page http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(withToken(page))
	t.Cleanup(s.Close)
	return s
}

func withToken(page http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" {
			page(w, r)
			return
		}
		if secret := r.PostFormValue("client_secret"); secret != testSecret {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":86400}`, testToken)
	})
}

// try makes one try of a page, over the network.
func try(t *testing.T, url string, change func(*Options)) (*Page, *Error) {
	t.Helper()
	c := client(t, nil, func(o *Options) {
		o.Settings = wizSettings(map[string]any{"api_url": url, "token_url": url + "/oauth/token"})
		if change != nil {
			change(o)
		}
	})
	defer c.Close()
	p, err := c.plan(audit())
	if err != nil {
		t.Fatal(err)
	}
	s, failure := c.exchange(t.Context())
	if failure != nil {
		return nil, failure
	}
	return c.ask(t.Context(), s, p, auditPage(""))
}

func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testToken || r.Header.Get("User-Agent") != "trawl/test" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		body := pageOf(500, "", false)
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, body)
		z.Close()
	})
	p, e := try(t, s.URL, nil)
	if e != nil || len(p.Records) != 500 || p.Bytes != len(pageOf(500, "", false)) {
		t.Fatalf("page %v, error %v", p, e)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	const limit = 50_000
	fill := func(n int) string { // a good page of n bytes
		empty := pageOf(0, "", false)
		return strings.Replace(empty, "[]", `["`+strings.Repeat("x", n-len(empty)-2)+`"]`, 1)
	}
	for _, test := range []struct {
		name   string
		size   int
		status int
		how    func(w http.ResponseWriter, body string)
		class  Class
	}{
		{"just fits", limit, 200, func(w http.ResponseWriter, body string) { io.WriteString(w, body) }, OK},
		{"just fits, length stated", limit, 200, stated, OK},
		{"just fits, gzip", limit, 200, zipped, OK},
		{"one too many", limit + 1, 200, func(w http.ResponseWriter, body string) { io.WriteString(w, body) }, TooLarge},
		{"one too many, length stated", limit + 1, 200, stated, TooLarge},
		{"one too many, gzip", limit + 1, 200, zipped, TooLarge},
		{"bomb", 100 * limit, 200, zipped, TooLarge},
		{"large error", 100 * limit, 503, stated, Retry},
		{"large refusal", 100 * limit, 403, zipped, Forbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if test.status != 200 {
					w.Header().Set("X-Status", "")
				}
				test.how(statusWriter{w, test.status}, fill(test.size))
			})
			p, e := try(t, s.URL, func(o *Options) { o.HTTP.MaxBody = limit })
			switch {
			case test.class == OK && (e != nil || p.Bytes != limit):
				t.Error(e)
			case test.class != OK && (e == nil || e.Class != test.class || e.Status != test.status):
				t.Errorf("error is %v", e)
			case test.class == TooLarge && !strings.Contains(e.Error(), "50000 bytes (http.max_body)"):
				t.Error(e)
			}
		})
	}
}

// statusWriter answers with a status other than 200.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w statusWriter) Write(b []byte) (int, error) {
	if w.status != 200 && w.Header()["X-Status"] != nil {
		w.Header().Del("X-Status")
		w.WriteHeader(w.status)
	}
	return w.ResponseWriter.Write(b)
}

func stated(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	io.WriteString(w, body)
}

func zipped(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	io.WriteString(z, body)
	z.Close()
}

// TestBrokenAnswers cuts answers off in ways that only a network can.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	body := pageOf(500, "", false)
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		message string
	}{
		{"fewer bytes than stated", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)+1))
			io.WriteString(w, body)
		}, "unexpected EOF"},
		{"reset in the body", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, body[:1000])
			w.(http.Flusher).Flush()
			reset(w)
		}, "read answer"},
		{"reset before the answer", func(w http.ResponseWriter, r *http.Request) { reset(w) }, ""},
		{"gzip cut off", func(w http.ResponseWriter, r *http.Request) {
			var b strings.Builder
			z := gzip.NewWriter(&b)
			io.WriteString(z, body)
			z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, b.String()[:b.Len()-20])
		}, "unexpected EOF"},
		{"gzip that is none", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, body)
		}, "gzip: invalid header"},
		{"slow headers", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "within 100ms (http.timeout)"},
		{"slow body", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, body[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "within 100ms (http.timeout)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler)
			_, e := try(t, s.URL, func(o *Options) {
				if strings.HasPrefix(test.name, "slow") {
					o.HTTP.Timeout = 100 * time.Millisecond
				}
			})
			if e == nil || e.Class != Retry || !strings.Contains(e.Error(), test.message) {
				t.Errorf("error is %v", e)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		if _, e := try(t, "http://127.0.0.1:1", nil); e == nil || e.Class != Retry || !strings.Contains(e.Error(), "connection refused") {
			t.Errorf("error is %v", e)
		}
	})
}

func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("the other host was asked") })
	for _, test := range []struct {
		name    string
		status  int
		to      string
		message string // none: it is followed
	}{
		{"same host", http.StatusTemporaryRedirect, "/moved", ""},
		{"same host for good", http.StatusPermanentRedirect, "/moved", ""},
		{"POST to GET", http.StatusFound, "/moved", "so that it becomes a GET"},
		{"other host", http.StatusTemporaryRedirect, other.URL + "/moved", "another host, " + other.URL},
		{"other host as GET", http.StatusFound, other.URL + "/moved", "another host, " + other.URL},
		{"in circles", http.StatusTemporaryRedirect, "/graphql", "more than 5 times"},
		{"nowhere", http.StatusMultipleChoices, "", "HTTP 300"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); r.URL.Path == "/moved" && len(body) > 0 && r.Header.Get("Authorization") != "" {
					io.WriteString(w, pageOf(1, "", false))
					return
				}
				if test.to != "" {
					w.Header().Set("Location", test.to)
				}
				w.WriteHeader(test.status)
			})
			p, e := try(t, s.URL, nil)
			if test.message == "" {
				if e != nil || len(p.Records) != 1 {
					t.Error(e)
				}
				return
			}
			if e == nil || e.Class != Permanent || !strings.Contains(e.Error(), test.message) {
				t.Errorf("error is %v", e)
			}
		})
	}
	t.Run("sign-in", func(t *testing.T) {
		t.Parallel()
		s := httptest.NewServer(http.RedirectHandler(other.URL+"/oauth/token", http.StatusTemporaryRedirect))
		defer s.Close()
		_, e := try(t, s.URL, nil)
		if e == nil || e.Class != Permanent || !strings.Contains(e.Error(), "wiz-prod sign-in: "+s.URL+" redirects to another host, "+other.URL) {
			t.Errorf("error is %v", e)
		}
	})
}

func TestProxy(t *testing.T) {
	t.Parallel()
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "api.internal" || r.Header.Get("Proxy-Authorization") == "" {
			t.Errorf("asked for %s with %v", r.URL, r.Header)
		}
		io.WriteString(w, pageOf(2, "", false))
	})
	address := strings.Replace(proxy.URL, "http://", "http://user:pass-word@", 1)
	p, e := try(t, "http://api.internal", func(o *Options) { o.HTTP.ProxyURL = address })
	if e != nil || len(p.Records) != 2 {
		t.Errorf("error is %v", e)
	}
	for _, bad := range []string{"http://user:pass-word@[", "user:pass-word", "ftp://user:pass-word@host"} {
		_, err := New(Options{Name: "c", Product: wiz(), HTTP: HTTPOptions{ProxyURL: bad}})
		if err == nil || !strings.Contains(err.Error(), "http.proxy_url") || strings.Contains(err.Error(), "pass-word") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestCAFile(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(withToken(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, pageOf(r.ProtoMajor, "", false))
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that does not know the CA is part of the test
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p, e := try(t, s.URL, func(o *Options) { o.HTTP.CAFile = file })
	if e != nil || len(p.Records) != 2 {
		t.Errorf("no page over HTTP/2: %v", e)
	}
	if _, e := try(t, s.URL, nil); e == nil || e.Class != Retry || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("without the CA file: %v", e)
	}
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{empty, filepath.Join(dir, "none.pem")} {
		if _, err := New(Options{Name: "c", Product: wiz(), HTTP: HTTPOptions{CAFile: bad}}); err == nil || !strings.Contains(err.Error(), "connection c: read http.ca_file") {
			t.Error(err)
		}
	}
}

func TestUnknownAuth(t *testing.T) {
	t.Parallel()
	p := *wiz()
	p.Auth = []catalog.Auth{{Type: "magic"}}
	if _, err := New(Options{Name: "c", Product: &p}); err == nil || !strings.Contains(err.Error(), `auth type "magic"`) {
		t.Error(err)
	}
}
