package asynqmon

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynqmon"
)

// FuzzFormatPayload: a payload of ours is shown with where its object is, below /v1/; any other as Asynqmon would.
func FuzzFormatPayload(f *testing.F) {
	f.Add("lease:update", []byte(`{"namespace":"ci","id":"01abc"}`))
	f.Add("../x:y", []byte(`{"namespace":"a&b","id":"../<x>"}`))
	f.Add("batch:update", []byte(`{"namespace":"ci","objects":["lease:01abc","../x:../<y>"]}`))
	f.Add("x", []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, typ string, raw []byte) {
		shown, plain := formatPayload(typ, raw), asynqmon.DefaultPayloadFormatter(typ, raw)
		if shown == plain {
			return
		}
		var namespace string
		var see []string
		if strings.HasPrefix(typ, "batch:") {
			var got, stored batch
			if json.Unmarshal([]byte(shown), &got) != nil || json.Unmarshal(raw, &stored) != nil ||
				got.Namespace != stored.Namespace || !slices.Equal(got.Objects, stored.Objects) || len(got.See) != len(got.Objects) {
				t.Errorf("%q is shown as %q", raw, shown)
			}
			namespace, see = got.Namespace, got.See
		} else {
			var got, stored payload
			if json.Unmarshal([]byte(shown), &got) != nil || json.Unmarshal(raw, &stored) != nil ||
				got.Namespace != stored.Namespace || got.ID != stored.ID {
				t.Errorf("%q is shown as %q", raw, shown)
			}
			namespace, see = got.Namespace, []string{got.See}
		}
		for _, at := range see {
			u, err := url.Parse(at)
			if err != nil || u.Host != "" || !strings.HasPrefix(at, "/v1/") || strings.Count(u.EscapedPath(), "/") != 3 || u.Query().Get("namespace") != namespace {
				t.Errorf("%q is at %q, %v", raw, at, err)
			}
		}
	})
}
