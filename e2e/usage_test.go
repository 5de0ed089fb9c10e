package e2e_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsage: what somebody sees who types it wrong.
func TestUsage(t *testing.T) {
	t.Parallel()
	binary(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	const nowhere = "redis://127.0.0.1:1/0"
	tests := map[string]struct {
		env  []string
		args []string
		code int
		says []string
	}{
		"help":             {args: []string{"--help"}, says: []string{"dev", "api", "worker", "DRYDOCK_"}},
		"no arguments":     {says: []string{"dev", "api", "worker", "DRYDOCK_"}},
		"help of a worker": {args: []string{"worker", "--help"}, says: []string{"--redis", "DRYDOCK_REDIS_URL", "DRYDOCK_LOCK_TTL", "DRYDOCK_CONCURRENCY"}},
		"help of the API":  {args: []string{"api", "--help"}, says: []string{"DRYDOCK_REDIS_URL", "DRYDOCK_LISTEN", "DRYDOCK_DURABILITY"}},
		"help of dev":      {args: []string{"dev", "--help"}, says: []string{"DRYDOCK_DATA", "DRYDOCK_BLUEPRINTS"}},
		"version":          {args: []string{"--version"}, says: []string{"drydock"}},

		"unknown command":         {args: []string{"serve"}, code: 2, says: []string{`unknown command "serve"`}},
		"unknown flag":            {args: []string{"worker", "--bogus"}, code: 2, says: []string{"bogus"}},
		"no Redis":                {args: []string{"worker"}, code: 2, says: []string{"redis"}},
		"number out of range":     {args: []string{"worker", "--redis", nowhere, "--concurrency", "-1"}, code: 2, says: []string{"concurrency"}},
		"argument too many":       {args: []string{"dev", "extra"}, code: 2, says: []string{"dev", "extra"}},
		"bad number":              {args: []string{"worker", "--redis", nowhere, "--concurrency", "many"}, code: 2, says: []string{"concurrency", "many"}},
		"bad duration":            {args: []string{"api", "--redis", nowhere, "--lock-ttl", "soon"}, code: 2, says: []string{"lock-ttl", "soon"}},
		"lock TTL too short":      {args: []string{"worker", "--redis", nowhere, "--lock-ttl", "1ms"}, code: 2, says: []string{"--lock-ttl"}},
		"bad variable":            {env: []string{"DRYDOCK_LOCK_TTL=soon"}, args: []string{"worker", "--redis", nowhere}, code: 2, says: []string{"DRYDOCK_LOCK_TTL", "soon"}},
		"bad log level":           {args: []string{"worker", "--redis", nowhere, "--log-level", "loud"}, code: 2, says: []string{"--log-level", "loud"}},
		"bad durability":          {args: []string{"api", "--redis", nowhere, "--durability", "hope"}, code: 2, says: []string{"durability", "hope"}},
		"two lock nodes":          {args: []string{"worker", "--redis", nowhere, "--lock-redis", nowhere, "--lock-redis", nowhere}, code: 2, says: []string{"--lock-redis"}},
		"bad lock node":           {args: []string{"worker", "--redis", nowhere, "--lock-redis", "ftp://u:hunter2@x"}, code: 2, says: []string{"--lock-redis"}},
		"password of a lock node": {args: []string{"worker", "--redis", nowhere, "--lock-redis", "redis://u:1?hunter2@x"}, code: 2, says: []string{"--lock-redis"}},
		"bad lock node escape":    {args: []string{"worker", "--redis", nowhere, "--lock-redis", "redis://u:hunter2%zz@x"}, code: 2, says: []string{"--lock-redis"}},
		"bad Redis URL":           {args: []string{"worker", "--redis", "http://u:hunter2@x:6379"}, code: 2, says: []string{"redis"}},
		"bad database":            {args: []string{"api", "--redis", "redis://u:hunter2@x:6379/main"}, code: 2, says: []string{"redis"}},
		"bad escape":              {env: []string{"DRYDOCK_REDIS_URL=redis://u:hunter2%zz@x:6379"}, args: []string{"worker"}, code: 2, says: []string{"redis"}},
		"no blueprints":           {args: []string{"dev", "--data", t.TempDir(), "--blueprints", "no-such-file.yaml"}, code: 1, says: []string{"no-such-file.yaml"}},
		"port of the API":         {args: []string{"api", "--redis", nowhere, "--listen", taken.Addr().String()}, code: 2, says: []string{"--listen", taken.Addr().String(), "in use"}},
		"port of dev":             {args: []string{"dev", "--data", t.TempDir(), "--listen", taken.Addr().String()}, code: 2, says: []string{"--listen", taken.Addr().String(), "in use"}},
		"port of the worker":      {args: []string{"worker", "--redis", nowhere, "--listen", taken.Addr().String()}, code: 2, says: []string{"--listen", taken.Addr().String(), "in use"}},
		"help of tokens":          {args: []string{"token", "create", "--help"}, says: []string{"--name", "--role", "DRYDOCK_TOKEN_FILE"}},
		"unknown token command":   {args: []string{"token", "steal"}, code: 2, says: []string{`unknown command "token steal"`}},
		"token without a role":    {args: []string{"token", "create", "--name", "ci"}, code: 2, says: []string{"role"}},
		"token with a bad role":   {args: []string{"token", "create", "--name", "ci", "--role", "root", "--file", filepath.Join(t.TempDir(), "t")}, code: 2, says: []string{"role", "root", "viewer"}},
		"token with a bad name":   {args: []string{"token", "create", "--name", "C I", "--role", "viewer", "--file", filepath.Join(t.TempDir(), "t")}, code: 2, says: []string{"name"}},
		"revoke nobody":           {args: []string{"token", "revoke", "--file", filepath.Join(t.TempDir(), "t"), "nobody"}, code: 1, says: []string{"nobody"}},
		"revoke whom?":            {args: []string{"token", "revoke"}, code: 2, says: []string{"name or id"}},
		"no token file":           {args: []string{"api", "--redis", nowhere, "--token-file", "no-such-file.yaml"}, code: 2, says: []string{"--token-file", "no-such-file.yaml"}},
		"contradiction":           {args: []string{"api", "--redis", nowhere, "--token-file", "x", "--insecure-no-auth"}, code: 2, says: []string{"--insecure-no-auth"}},
		"issuer in the clear":     {args: []string{"api", "--redis", nowhere, "--oidc-issuer", "http://login.example.com", "--oidc-audience", "d"}, code: 2, says: []string{"--oidc-issuer", "https"}},
		"no audience":             {args: []string{"api", "--redis", nowhere, "--oidc-issuer", "https://login.example.com"}, code: 2, says: []string{"audience"}},
		"bad grant":               {args: []string{"api", "--redis", nowhere, "--oidc-issuer", "https://login.example.com", "--oidc-audience", "d", "--oidc-roles", "ops"}, code: 2, says: []string{"--oidc-roles", "GROUP=ROLE"}},
		"certificate alone":       {args: []string{"api", "--redis", nowhere, "--tls-cert", "x"}, code: 2, says: []string{"--tls-cert", "--tls-key"}},
		"bad proxy":               {args: []string{"api", "--redis", nowhere, "--trusted-proxy", "everybody"}, code: 2, says: []string{"--trusted-proxy", "everybody"}},
		"bad site":                {args: []string{"api", "--redis", nowhere, "--cors-origin", "*"}, code: 2, says: []string{"--cors-origin"}},
		"bad rate":                {args: []string{"api", "--redis", nowhere, "--rate-limit", "-1"}, code: 2, says: []string{"--rate-limit"}},
		"healthcheck":             {args: []string{"healthcheck", "http://127.0.0.1:1/healthz"}, code: 1, says: []string{"healthcheck"}},
		"healthcheck of what?":    {args: []string{"healthcheck"}, code: 2, says: []string{"URL"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, test.env, test.args...)
			code := p.code()
			text := p.out.String()
			if code != test.code {
				t.Errorf("exit code %d, want %d; it says:\n%s", code, test.code, text)
			}
			for _, word := range test.says {
				if !strings.Contains(text, word) {
					t.Errorf("it does not say %q but\n%s", word, text)
				}
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("it shows a password:\n%s", text)
			}
			if test.code != 0 && strings.Count(strings.TrimSpace(text), "\n") > 3 {
				t.Errorf("it says more than needed:\n%s", text)
			}
		})
	}
}
