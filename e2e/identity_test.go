package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var tokenPattern = regexp.MustCompile(`ddk_[0-9a-f]{64}`)

// newToken makes a token with the command that people use, for the test's namespace unless another is given.
func newToken(t *testing.T, file, name, role string, more ...string) string {
	t.Helper()
	if !slices.Contains(more, "--namespace") {
		more = append(more, "--namespace", namespaceOf(t))
	}
	p := start(t, nil, append([]string{"token", "create", "--file", file, "--name", name, "--role", role}, more...)...)
	if code := p.code(); code != 0 {
		t.Fatalf("token create ended with %d:\n%s", code, p.out)
	}
	return tokenPattern.FindString(p.out.String())
}

func bearer(token string) (name, value string) { return "Authorization", "Bearer " + token }

// statusWith returns the status of an answer to a token, or -1 when there was none.
func (c *client) statusWith(method, path, body, token string) int {
	var header []string
	if token != "" {
		name, value := bearer(token)
		header = []string{name, value}
	}
	a, err := c.do(c.t.Context(), method, path, body, header...)
	if err != nil {
		return -1
	}
	return a.status
}

// TestTokensFromCreationToRevocation: one server, started once, and a token file that changes under it.
func TestTokensFromCreationToRevocation(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	admin := newToken(t, file, "root", "admin", "--namespace", "*")
	ada := newToken(t, file, "ada", "holder")
	eve := newToken(t, file, "eve", "holder", "--expires", "1h")
	stranger := newToken(t, file, "stranger", "admin", "--namespace", "elsewhere")

	server := startRedis(t)
	api := startAPI(t, server.URL(), "--token-file", file, "--log-level", "debug")
	startWorker(t, server.URL())
	c := newClient(t, api.url)
	const pool = `{"kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}]}}`
	for token, want := range map[string]int{"": 401, ada: 403, stranger: 404, "ddk_" + strings.Repeat("0", 64): 401, admin: 201} {
		if got := c.statusWith("PUT", "/v1/blueprints/lab", pool, token); got != want {
			t.Errorf("PUT of a blueprint with token %.8q = %d, want %d", token, got, want)
		}
	}
	name, value := bearer(ada)
	mine := must[lease](c, "POST", "/v1/leases", `{"type": "host"}`, 202, name, value)
	if deref(mine.Owner) != "ada" {
		t.Errorf("the lease belongs to %v, want ada", mine.Owner)
	}
	path := "/v1/leases/" + mine.ID
	for token, want := range map[string]int{"": 401, eve: 403, stranger: 404} {
		if got := c.statusWith("POST", path+"/release", "", token); got != want {
			t.Errorf("release of another's lease with token %.8q = %d, want %d", token, got, want)
		}
	}
	if got := c.statusWith("POST", path+"/release", "", ada); got != 202 {
		t.Errorf("release by the owner = %d", got)
	}
	history := must[page[command]](c, "GET", path+"/commands", "", 200, name, value)
	if len(history.Items) != 1 || history.Items[0].Author != "ada" {
		t.Errorf("history %+v, want one command by ada", history.Items)
	}

	// The file changes.
	added := newToken(t, file, "late", "viewer")
	eventually(t, func() error {
		if got := c.statusWith("GET", path, "", added); got != 200 {
			return fmt.Errorf("a new token is answered with %d", got)
		}
		return nil
	})
	if code := start(t, nil, "token", "revoke", "--file", file, "eve").code(); code != 0 {
		t.Errorf("token revoke ended with %d", code)
	}
	eventually(t, func() error {
		if got := c.statusWith("GET", path, "", eve); got != 401 {
			return fmt.Errorf("a revoked token is answered with %d", got)
		}
		return nil
	})
	list := start(t, nil, "token", "list", "--file", file)
	if code := list.code(); code != 0 || strings.Contains(list.out.String(), "eve") || !strings.Contains(list.out.String(), "late") {
		t.Errorf("token list ended with %d:\n%s", code, list.out)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, []byte("- name: ["))
	api.says("what was read before still counts")
	if got := c.statusWith("GET", path, "", ada); got != 200 {
		t.Errorf("with a broken file = %d, want what was read before to count", got)
	}
	writeFile(t, file, good)
	api.says(`(?s)still counts.*read again`)
	before := strings.Count(api.out.String(), "read again")
	api.signal(syscall.SIGHUP)
	eventually(t, func() error {
		if strings.Count(api.out.String(), "read again") <= before {
			return errors.New("SIGHUP does not have the files read again")
		}
		return nil
	})
	if leaked := tokenPattern.FindString(api.out.String()); leaked != "" {
		t.Errorf("the log holds the token %s", leaked)
	}
}

func writeFile(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyServesEverybodyByMistake: an address that others can reach takes authentication, or a flag that says what it does.
func TestNobodyServesEverybodyByMistake(t *testing.T) {
	t.Parallel()
	const nowhere = "redis://127.0.0.1:1/0"
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	newToken(t, file, "root", "admin")
	for _, role := range []string{"api", "dev"} {
		args := []string{role, "--listen", "0.0.0.0:0"}
		if role == "api" {
			args = append(args, "--redis", nowhere)
		} else {
			args = append(args, "--data", t.TempDir())
		}
		p := start(t, nil, args...)
		if code := p.code(); code != 2 || !strings.Contains(p.out.String(), "--insecure-no-auth") {
			t.Errorf("%s ended with %d, want 2 and advice:\n%s", role, code, p.out)
		}
	}
	for flag, says := range map[string]string{"--insecure-no-auth": "WITHOUT AUTHENTICATION", "--token-file=" + file: "tokens travel in the clear"} {
		p := start(t, nil, "api", "--redis", nowhere, "--listen", "0.0.0.0:0", flag)
		p.says(says)
		p.says("serving the API")
	}
	for _, listen := range []string{"127.0.0.1:0", "localhost:0"} {
		start(t, nil, "api", "--redis", nowhere, "--listen", listen).says("serving the API")
	}
}

// certificateFor writes a certificate for 127.0.0.1 and its key, and returns what trusts it alone.
func certificateFor(t *testing.T, certFile, keyFile string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, certFile, cert)
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{RootCAs: roots}
}

func TestTLSWithANewCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	trusted := certificateFor(t, certFile, keyFile)
	api := start(t, nil, "api", "--redis", "redis://127.0.0.1:1/0", "--listen", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile)
	url := api.says(`serving the API" url=(https://\S+)`)[1] + "/healthz"
	get := func(trusted *tls.Config) (answer string, err error) {
		transport := &http.Transport{TLSClientConfig: trusted, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		return resp.Proto + " " + resp.Status, nil
	}
	if answer, err := get(trusted); answer != "HTTP/2.0 200 OK" {
		t.Errorf("with the first certificate: %s, %v", answer, err)
	}
	renewed := certificateFor(t, certFile, keyFile)
	eventually(t, func() error {
		_, err := get(renewed)
		return err
	})
	if _, err := get(trusted); err == nil {
		t.Error("the first certificate is still served")
	}
	for flag, want := range map[string]int{"--skip-verify": 0, "--timeout=5s": 1} {
		p := start(t, nil, "healthcheck", flag, url)
		if code := p.code(); code != want {
			t.Errorf("healthcheck %s ended with %d, want %d:\n%s", flag, code, want, p.out)
		}
	}
	// Half a renewal, or rubbish, changes nothing.
	if err := os.WriteFile(certFile, bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	api.says("what was read before still counts")
	if _, err := get(renewed); err != nil {
		t.Errorf("after rubbish in the file: %v", err)
	}
}
