package asynqmon

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/hibiken/asynqmon"
)

// FuzzFormatPayload: a payload of ours is shown with where its object is, below /v1/; any other as Asynqmon would.
func FuzzFormatPayload(f *testing.F) {
	f.Add("lease:update", []byte(`{"namespace":"ci","id":"01abc"}`))
	f.Add("../x:y", []byte(`{"namespace":"a&b","id":"../<x>"}`))
	f.Add("x", []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, typ string, raw []byte) {
		shown := formatPayload(typ, raw)
		var got, stored payload
		if json.Unmarshal([]byte(shown), &got) != nil || got.See == "" || shown == asynqmon.DefaultPayloadFormatter(typ, raw) {
			if shown != asynqmon.DefaultPayloadFormatter(typ, raw) {
				t.Errorf("%q is shown as %q", raw, shown)
			}
			return
		}
		if json.Unmarshal(raw, &stored) != nil || stored.ID != got.ID || stored.Namespace != got.Namespace {
			t.Errorf("%q is shown as %q", raw, shown)
		}
		if u, err := url.Parse(got.See); err != nil || u.Host != "" || !strings.HasPrefix(got.See, "/v1/") || strings.Count(u.EscapedPath(), "/") != 3 || u.Query().Get("namespace") != got.Namespace {
			t.Errorf("%q is at %q, %v", raw, got.See, err)
		}
	})
}
