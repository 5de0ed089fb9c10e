package e2e_test

import (
	"net"
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
