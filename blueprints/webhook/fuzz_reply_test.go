package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"drydock/blueprints"
	"drydock/blueprints/hook"
)

// FuzzReply: whatever a service answers, the step has its answer, is put off within bounds, or fails; what is kept of it is text without
// the secret.
func FuzzReply(f *testing.F) {
	const secret = "correct horse battery staple"
	f.Add(200, "", []byte(`{"attributes": {"ip": "10.0.0.1"}}`))
	f.Add(202, "5", []byte(`{"retry_after": "10s", "reason": "booting"}`))
	f.Add(202, "", []byte(`{"reason": "correct horse battery staple\u001b[31m"}`))
	f.Add(503, "Wed, 21 Oct 2035 07:28:00 GMT", []byte("later"))
	f.Add(429, "-1", []byte(``))
	f.Add(429, "99999999999", []byte(`{"retry_after": "-1h"}`))
	f.Add(302, "", []byte(``))
	f.Add(500, "", []byte("\xff\x00\x1b[31mcorrect horse battery staple"))
	f.Add(418, "", []byte(strings.Repeat("x", maxBody+1)))
	f.Fuzz(func(t *testing.T, status int, retryAfter string, body []byte) {
		s := &sender{}
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}}
		for _, step := range hook.Steps() {
			answer, err := s.judge(step, resp, body, secret)
			if err == nil {
				if status < 200 || status > 299 || status == http.StatusAccepted || hook.TakesAnswer(step) && len(answer) > maxBody {
					t.Errorf("%s: %d with %d bytes is an answer", step, status, len(answer))
				}
				continue
			}
			if text := err.Error(); !utf8.ValidString(text) || strings.Contains(text, secret) || len(text) > 5000 ||
				strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
				t.Errorf("%s: the error %q", step, text)
			}
			if y, ok := blueprints.AsYield(err); ok && (y.After < 0 || y.After > hook.MaxRetryAfter || y.Reason == "") {
				t.Errorf("%s: put off by %s for %q", step, y.After, y.Reason)
			}
		}
		if after := parseRetryAfter(retryAfter, time.Unix(1_700_000_000, 0)); after < 0 {
			t.Errorf("Retry-After %q is %s", retryAfter, after)
		}
	})
}
