package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/blueprints/conformance"
	"drydock/blueprints/hook"
	"drydock/model"
)

// program is a Caller that answers from a table.
type program struct {
	answers map[hook.Step]string
	err     error
	got     map[hook.Step]string
}

func (p *program) Call(_ context.Context, m *hook.Message, body []byte) ([]byte, error) {
	if p.got != nil {
		p.got[m.Step] = string(body)
	}
	return []byte(p.answers[m.Step]), p.err
}

// kind is a kind whose program does nothing outside.
type kind struct{ answers map[hook.Step]string }

func (kind) Name() string { return "test" }

func (k kind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var r hook.Resources
	if err := blueprints.DecodeConfig(bp.Config, &r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	return hook.New(bp, r, hook.Steps(), time.Minute, &program{answers: k.answers}), nil
}

const resources = `{"attributes": {"os": "linux", "size": ["small", "large"]}, "parameters": ["branch"], "capacity": 2}`

func blueprint(config string) *model.Blueprint {
	return &model.Blueprint{Namespace: "ci", Name: "vm", Kind: "test", Type: "vm", Enabled: true, Config: []byte(config)}
}

func want(pairs ...string) model.Request {
	req := model.Request{Type: "vm", Lease: "l1", Owner: "anna", Attributes: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		req.Attributes[pairs[i]] = pairs[i+1]
	}
	return req
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Suite{
		Kind: kind{answers: map[hook.Step]string{
			hook.StepAllocate: `{"attributes": {"zone": "a"}, "slots": ["license:1"], "facts": "f"}`,
			hook.StepActivate: `{"attributes": {"address": "192.0.2.1"}, "capacity": 3}`,
			hook.StepUpdate:   `{"attributes": {"zone": null}}`,
			hook.StepAcquire:  `{"slots": ["port:22"]}`,
			hook.StepDestroy:  `gone`,
		}},
		New: func(*testing.T) conformance.World { return conformance.World{Blueprint: blueprint(resources)} },
		Bad: []conformance.Bad{
			conformance.BadConfig("attribute is a number", `{"attributes": {"os": 5}}`, "config.attributes.os"),
			conformance.BadConfig("attribute is null", `{"attributes": {"os": null}}`, "config.attributes.os"),
			conformance.BadConfig("no choice", `{"attributes": {"os": []}}`, "config.attributes.os"),
			conformance.BadConfig("bad choice", `{"attributes": {"os": ["a", 5]}}`, "config.attributes.os"),
			conformance.BadConfig("control character", `{"attributes": {"os": ["a", "b\u0007"]}}`, "config.attributes.os"),
			conformance.BadConfig("bad name", `{"attributes": {"o s": "a"}}`, "config.attributes"),
			conformance.BadConfig("many choices", `{"attributes": {"n": ["a"`+strings.Repeat(`,"a"`, 64)+`]}}`, "config.attributes.n"),
			conformance.BadConfig("bad parameter", `{"parameters": ["a", "b c"]}`, "config.parameters[1]"),
			conformance.BadConfig("both", `{"attributes": {"os": "a"}, "parameters": ["os"]}`, "config.parameters[0]"),
			conformance.BadConfig("capacity", `{"capacity": 0}`, "config.capacity"),
		},
		Serves:  []model.Request{want(), want("size", "large", "os", "linux"), want("branch", "anything at all")},
		Refuses: []model.Request{want("os", "macos"), want("size", ""), want("zone", "a")},
	})
}

func open(t *testing.T, p *program) blueprints.Blueprint {
	t.Helper()
	var r hook.Resources
	if err := json.Unmarshal([]byte(resources), &r); err != nil {
		t.Fatal(err)
	}
	return hook.New(blueprint(resources), r, hook.Steps(), 0, p)
}

func first(t *testing.T, bp blueprints.Blueprint, req model.Request) blueprints.Offer {
	t.Helper()
	for offer := range bp.Offers(req) {
		return offer
	}
	t.Fatal("no offer")
	return blueprints.Offer{}
}

func TestTheRequestChoosesAmongTheValues(t *testing.T) {
	t.Parallel()
	bp := open(t, &program{})
	for _, tc := range []struct {
		req  model.Request
		want map[string]string
	}{
		{want(), map[string]string{"os": "linux", "size": "small"}},
		{want("size", "large"), map[string]string{"os": "linux", "size": "large"}},
		{want("branch", "main"), map[string]string{"os": "linux", "size": "small"}},
	} {
		if diff := cmp.Diff(tc.want, first(t, bp, tc.req).Attributes); diff != "" {
			t.Errorf("Offers(%v) (-want +got):\n%s", tc.req.Attributes, diff)
		}
	}
	if _, reason := bp.CanServe(want("size", "huge")); reason != `its size is "small" or "large", not "huge"` {
		t.Errorf("reason = %q", reason)
	}
	if _, reason := bp.CanServe(want("zone", "a")); reason != "its resources have no attribute zone" {
		t.Errorf("reason = %q", reason)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	p := &program{got: map[hook.Step]string{}}
	bp := open(t, p)
	req := want("size", "large")
	call := blueprints.Call{Object: model.LeaseRef("ci", "l1"), Fence: 7, Key: "l1.allocate", Attempt: 2}
	if _, err := bp.Hooks().Allocate(t.Context(), call, req, first(t, bp, req)); err != nil {
		t.Fatal(err)
	}
	if got, want := p.got[hook.StepAllocate], `{"step":"allocate","object":{"namespace":"ci","kind":"lease","id":"l1"},"fence":7,`+
		`"idempotency_key":"l1.allocate","attempt":2,"blueprint":"vm",`+
		`"resource":{"id":null,"name":"vm-1","type":"vm","attributes":{"os":"linux","size":"large"},"capacity":2,"leases":[],"until":null,"facts":""},`+
		`"lease":{"id":"l1","type":"vm","owner":"anna","attributes":{"size":"large"},"until":null}}`; got != want {
		t.Errorf("message = %s\nwant      %s", got, want)
	}
	res := &model.Resource{
		Ref: model.ResourceRef("ci", "r1"), Name: "vm-1", Type: "vm", Capacity: 2, Leases: []string{"l1"},
		Until: time.Unix(1, 0), Work: model.ResourceWork{Facts: "f"},
	}
	call = blueprints.Call{Object: res.Ref, Fence: 8, Key: "r1.activate", Attempt: 1}
	if _, err := bp.Hooks().ActivateResource(t.Context(), call, res); err != nil {
		t.Fatal(err)
	}
	if got, want := p.got[hook.StepActivate], `{"step":"activate","object":{"namespace":"ci","kind":"resource","id":"r1"},"fence":8,`+
		`"idempotency_key":"r1.activate","attempt":1,"blueprint":"vm",`+
		`"resource":{"id":"r1","name":"vm-1","type":"vm","attributes":{},"capacity":2,"leases":["l1"],"until":"1970-01-01T00:00:01Z","facts":"f"},`+
		`"lease":null}`; got != want {
		t.Errorf("message = %s\nwant      %s", got, want)
	}
	req.Lease = ""
	if _, err := bp.Hooks().Allocate(t.Context(), call, req, first(t, bp, req)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(p.got[hook.StepAllocate], `"lease":null}`) {
		t.Errorf("message for a spare = %s", p.got[hook.StepAllocate])
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	res := &model.Resource{Ref: model.ResourceRef("ci", "r1"), Name: "vm-1", Attributes: map[string]string{"os": "linux", "old": "x"}}
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		answer string
		want   blueprints.Changes
		err    string
	}{
		"nothing": {"", blueprints.Changes{}, ""},
		"blanks":  {" \n", blueprints.Changes{}, ""},
		"empty":   {"{}", blueprints.Changes{}, ""},
		"all": {
			`{"attributes": {"ip": "192.0.2.1", "old": null}, "capacity": 4, "facts": "{\"id\": 7}", "until": "2030-01-02T03:04:05Z"}`,
			blueprints.Changes{
				Attributes: map[string]string{"os": "linux", "ip": "192.0.2.1"},
				Capacity:   4, Facts: `{"id": 7}`, Until: until,
			}, "",
		},
		"text":             {"done", blueprints.Changes{}, "activate: answer: must be an object"},
		"unknown field":    {`{"atributes": {}}`, blueprints.Changes{}, "activate: answer.atributes: unknown field"},
		"slots":            {`{"slots": ["a"]}`, blueprints.Changes{}, "activate: answer.slots: activate does not take it"},
		"capacity":         {`{"capacity": 0}`, blueprints.Changes{}, "activate: answer.capacity: must be between 1 and 1000"},
		"attribute name":   {`{"attributes": {"a b": "c"}}`, blueprints.Changes{}, "activate: answer.attributes: the name"},
		"attribute number": {`{"attributes": {"a": 1}}`, blueprints.Changes{}, "activate: answer.attributes.a: must be a string"},
		"facts":            {`{"facts": "` + strings.Repeat("a", hook.MaxFacts+1) + `"}`, blueprints.Changes{}, "activate: answer.facts: must not be longer"},
		"until":            {`{"until": "soon"}`, blueprints.Changes{}, "activate: answer.until: must be an RFC 3339 time in quotes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bp := open(t, &program{answers: map[hook.Step]string{hook.StepActivate: tc.answer}})
			got, err := bp.Hooks().ActivateResource(t.Context(), blueprints.Call{}, res)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.err)) {
				t.Errorf("error = %v, want %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllocateMayFillInTheOfferButNotAwayFromTheRequest(t *testing.T) {
	t.Parallel()
	p := &program{answers: map[hook.Step]string{hook.StepAllocate: `{"attributes": {"zone": "a"}, "capacity": 9, "facts": "f", "slots": ["license:1"]}`}}
	bp := open(t, p)
	req := want("size", "large")
	got, err := bp.Hooks().Allocate(t.Context(), blueprints.Call{}, req, first(t, bp, req))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(blueprints.Offer{
		Name: "vm-1", Attributes: map[string]string{"os": "linux", "size": "large", "zone": "a"}, Capacity: 9,
		Slots: []string{"resource:vm:vm-1", "license:1"}, Facts: "f",
	}, got); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	p.answers[hook.StepAllocate] = `{"attributes": {"size": "small"}}`
	if _, err := bp.Hooks().Allocate(t.Context(), blueprints.Call{}, req, first(t, bp, req)); err == nil ||
		!strings.Contains(err.Error(), "the lease cannot use") {
		t.Errorf("Allocate = %v", err)
	}
	p.answers[hook.StepAllocate] = `{"slots": ["a}b"]}`
	if _, err := bp.Hooks().Allocate(t.Context(), blueprints.Call{}, req, first(t, bp, req)); err == nil {
		t.Error("a slot that leaves its key was taken")
	}
}

func TestErrorsKeepTheirNature(t *testing.T) {
	t.Parallel()
	p := &program{err: blueprints.Yield(time.Second, "booting")}
	hooks := open(t, p).Hooks()
	_, err := hooks.ActivateResource(t.Context(), blueprints.Call{}, &model.Resource{})
	if y, ok := blueprints.AsYield(err); !ok || y.After != time.Second {
		t.Errorf("ActivateResource = %v", err)
	}
	p.err = context.DeadlineExceeded
	if err := hooks.DestroyLease(t.Context(), blueprints.Call{}, nil, &model.Lease{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DestroyLease = %v", err)
	}
}

func TestParseYield(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		raw, otherwise string
		after          time.Duration
		reason         string
	}{
		"all":       {`{"retry_after": "10s", "reason": "booting"}`, "stderr", 10 * time.Second, "booting"},
		"no reason": {`{"retry_after": "10s"}`, "stderr", 10 * time.Second, "stderr"},
		"nothing":   {``, "", 0, "no reason given"},
		"text":      {`wait`, "", 0, "no reason given"},
		"bad delay": {`{"retry_after": "soon", "reason": "r"}`, "", 0, "r"},
		"a number":  {`{"retry_after": 5, "reason": "r"}`, "said", 0, "said"},
		"a year":    {`{"retry_after": "8760h"}`, "r", hook.MaxRetryAfter, "r"},
		"negative":  {`{"retry_after": "-1s"}`, "r", 0, "r"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y, ok := blueprints.AsYield(hook.ParseYield([]byte(tc.raw), tc.otherwise))
			if !ok || y.After != tc.after || y.Reason != tc.reason {
				t.Errorf("ParseYield(%q) = %+v, want %s, %q", tc.raw, y, tc.after, tc.reason)
			}
		})
	}
}
