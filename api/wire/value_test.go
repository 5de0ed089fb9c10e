package wire

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestValuesInJSON(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("", 3600)
	for _, tt := range []struct {
		value any
		want  string
	}{
		{Text(""), `null`},
		{Text("a <b>"), `"a \u003cb\u003e"`}, // json.Marshal escapes again; the API's encoder does not
		{Number(0), `null`},
		{Number(-3), `-3`},
		{Time{}, `null`},
		{Time{time.Date(2030, 1, 2, 3, 4, 5, 6_999_999, berlin)}, `"2030-01-02T02:04:05.006Z"`},
		{Attributes(nil), `{}`},
		{Attributes{"b": "2", "a": "1"}, `{"a":"1","b":"2"}`},
		{Page[Text]{Items: []Text{}}, `{"items":[],"next":null}`},
		{FromPage(model.Page[int]{Next: "c"}, func(n int) int { return n }), `{"items":[],"next":"c"}`},
	} {
		got, err := json.Marshal(tt.value)
		if err != nil || string(got) != tt.want {
			t.Errorf("json of %#v = %s, %v, want %s", tt.value, got, err, tt.want)
		}
	}
}

// TestClientReadsWhatTheServerWrites: an object survives the way through JSON, to the millisecond.
func TestClientReadsWhatTheServerWrites(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for _, lease := range []*model.Lease{
		{Ref: model.LeaseRef("ci", "x"), Type: "host", Status: model.LeasePending, Waiting: &model.Waiting{Position: 1}, CreatedAt: at},
		{
			Ref: model.LeaseRef("ci", "x"), Type: "host", Status: model.LeaseActive, Resource: "r", Owner: "a", Fence: 3, Until: at,
			Attributes: map[string]string{"os": "linux"}, Blueprints: []string{"lab"}, Data: json.RawMessage(`{"a":1}`),
		},
	} {
		want := FromLease(lease)
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Lease
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if want.Data == nil {
			want.Data = json.RawMessage("null")
		}
		if want.Attributes == nil {
			want.Attributes = Attributes{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lease (-want +got):\n%s", diff)
		}
	}
}

func TestTimeReadsOnlyRFC3339(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"2030-01-02T03:04:05Z"`:      "",
		`"2030-01-02T03:04:05+14:00"`: "",
		`null`:                        "",
		`"2030-01-02"`:                `"2030-01-02" is not an RFC 3339 time such as "2030-01-02T15:04:05Z"`,
		`"2030-02-30T00:00:00Z"`:      `"2030-02-30T00:00:00Z" is not an RFC 3339 time such as "2030-01-02T15:04:05Z"`,
		`12`:                          `must be an RFC 3339 time in quotes such as "2030-01-02T15:04:05Z"`,
	} {
		var got Time
		err := json.Unmarshal([]byte(in), &got)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("Time of %s: %v, want %q", in, err, want)
		}
	}
}

// TestRequestsLeaveOutWhatIsNotSaid: a request that leaves everything out sends nothing for it.
func TestRequestsLeaveOutWhatIsNotSaid(t *testing.T) {
	t.Parallel()
	ttl := model.Duration(90 * time.Minute)
	for _, tt := range []struct {
		value any
		want  string
	}{
		{NewLease{Type: "host"}, `{"type":"host"}`},
		{NewLease{Type: "host", TTL: &ttl}, `{"type":"host","ttl":"1h30m0s"}`},
		{Release{}, `{}`},
		{NewCommand{Command: "pause"}, `{"command":"pause"}`},
		{NewBlueprint{Kind: "pool", Type: "host"}, `{"kind":"pool","type":"host"}`},
		{NewBlueprint{Kind: "pool", Type: "host", Authorize: model.Authorize{Request: true}}, `{"kind":"pool","type":"host","authorize":"request"}`},
		{NewAuthorization{Owner: Owner{Name: "ada"}, Status: "approved"}, `{"owner":"ada","status":"approved"}`},
		{NewAuthorization{Status: "declined", Reason: "x"}, `{"owner":null,"status":"declined","reason":"x"}`},
	} {
		got, err := json.Marshal(tt.value)
		if err != nil || string(got) != tt.want {
			t.Errorf("json of %#v = %s, %v, want %s", tt.value, got, err, tt.want)
		}
	}
}
