package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"drydock/api/wire"
	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/store"
)

// releaseEnv is an API on a real store, with leases ada-1, ada-2 (both Ada's) and eve-1.
type releaseEnv struct {
	*testAPI

	ns   string
	real *store.Store
	// fail, when set, is asked before each batch, and save before an answer is recorded.
	fail, save func() error
	ids        map[string]string
}

// flakyStore fails a batch when it is told to, after it was done.
type flakyStore struct {
	*store.Store

	e *releaseEnv
}

func (f flakyStore) SendAll(ctx context.Context, cmds []model.Command) ([]model.SendResult, error) {
	results, err := f.Store.SendAll(ctx, cmds)
	if f.e.fail != nil {
		return nil, f.e.fail()
	}
	return results, err
}

func (f flakyStore) SaveAnswer(ctx context.Context, namespace, key string, a model.Answer) (model.Answer, error) {
	if f.e.save != nil {
		if err := f.e.save(); err != nil {
			return a, err
		}
	}
	return f.Store.SaveAnswer(ctx, namespace, key, a)
}

func newReleaseEnv(t *testing.T, options ...func(*Config)) *releaseEnv {
	t.Helper()
	e := &releaseEnv{ns: redistest.Namespace(t), ids: map[string]string{}}
	e.real = store.New(redistest.Client(t, redistest.Shared(t)), store.Config{})
	t.Cleanup(e.real.Close)
	e.testAPI = newAPI(t, &fakeStore{}, append(options, func(c *Config) { c.Store = flakyStore{e.real, e} })...)
	for _, name := range []string{"ada-1", "ada-2", "eve-1"} {
		e.create(name)
	}
	return e
}

func (e *releaseEnv) create(name string) {
	e.t.Helper()
	owner, _, _ := strings.Cut(name, "-")
	id := model.NewID()
	if _, err := e.real.CreateLease(e.t.Context(), e.ns, id, model.NewLease{Type: "host", Owner: owner}, model.Idempotency{}); err != nil {
		e.t.Fatal(err)
	}
	e.ids[name] = id
	// As a worker would, so that the next command wakes it.
	if _, err := e.real.Claim(e.t.Context(), model.LeaseRef(e.ns, id), "w1"); err != nil {
		e.t.Fatal(err)
	}
}

func (e *releaseEnv) post(body string, headers ...string) answer {
	e.t.Helper()
	return e.do(http.MethodPost, "/v1/leases:release?namespace="+e.ns, body, headers...)
}

// released sends a body that must be accepted and returns the statuses, by the names of the leases.
func (e *releaseEnv) released(body string, headers ...string) (statuses map[string]int, page wire.Page[wire.LeaseRelease]) {
	e.t.Helper()
	got := e.post(body, headers...)
	if got.status != http.StatusAccepted {
		e.t.Fatalf("%s = %d %s", body, got.status, got.body)
	}
	if err := json.Unmarshal(got.body, &page); err != nil {
		e.t.Fatal(err)
	}
	statuses = map[string]int{}
	for _, item := range page.Items {
		name := item.ID
		for n, id := range e.ids {
			if id == item.ID {
				name = n
			}
		}
		statuses[name] = item.Status
		if (item.Status == http.StatusAccepted) != (item.Command != nil) || (item.Status >= 400) != (item.Error != nil) {
			e.t.Errorf("the item is %+v", item)
		}
	}
	return statuses, page
}

// commands returns the commands of a lease.
func (e *releaseEnv) commands(name string) []*model.Command {
	e.t.Helper()
	page, err := e.real.Commands(e.t.Context(), model.LeaseRef(e.ns, e.ids[name]), 0, "")
	if err != nil {
		e.t.Fatal(err)
	}
	return page.Items
}

func (e *releaseEnv) wantStatuses(got map[string]int, want map[string]int) {
	e.t.Helper()
	if len(got) != len(want) {
		e.t.Errorf("statuses %v, want %v", got, want)
	}
	for name, status := range want {
		if got[name] != status {
			e.t.Errorf("%s = %d, want %d", name, got[name], status)
		}
	}
}

func TestReleaseOfManyByID(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	unknown, calls := model.NewID(), 0
	e.tasks.enqueue = func(context.Context, []model.Ref) error {
		calls++
		return nil
	}
	statuses, page := e.released(`{"ids": ["`+strings.Join([]string{e.ids["ada-1"], unknown, "../x", e.ids["eve-1"], e.ids["ada-1"]}, `", "`)+
		`"], "reason": "why"}`, "Drydock-Author: ops")
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, unknown: 404, "../x": 404, "eve-1": 202})
	if page.Items[0].ID != e.ids["ada-1"] || page.Next != "" || page.Items[1].Error.Code != "not_found" {
		t.Errorf("the answer is %+v", page)
	}
	if got := e.commands("ada-1"); len(got) != 1 || got[0].Author != "ops" || got[0].Reason != "why" || got[0].Name != model.CommandRelease ||
		got[0].Origin.RequestID != fixedID || got[0].Origin.UserAgent != "test/1" {
		t.Errorf("the commands of ada-1 are %+v, want one with author, reason and origin", got)
	}
	if len(e.commands("ada-2")) != 0 {
		t.Error("ada-2 was released, too")
	}
	if got := len(e.tasks.enqueued()); got != 2 || calls != 1 {
		t.Errorf("%d tasks in %d calls, want one for each of two leases, at once", got, calls)
	}
}

func TestReleaseOfManyByFilter(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	statuses, _ := e.released(`{"filter": {"owner": "ada", "type": "host", "status": "pending"}}`)
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, "ada-2": 202})
	statuses, _ = e.released(`{"filter": {"status": "active"}}`)
	e.wantStatuses(statuses, map[string]int{})
	statuses, _ = e.released(`{"all": true, "filter": {}}`)
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, "ada-2": 202, "eve-1": 202})
}

// TestReleaseOfMoreThanFit goes from one answer to the next, and reaches every lease once.
func TestReleaseOfMoreThanFit(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	for range wire.MaxReleases {
		id := model.NewID()
		if _, err := e.real.CreateLease(t.Context(), e.ns, id, model.NewLease{Type: "host", Owner: "bob"}, model.Idempotency{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	calls, after := 0, ""
	for more := true; more; calls++ {
		_, page := e.released(`{"all": true, "after": "` + after + `"}`)
		for _, item := range page.Items {
			if seen[item.ID] {
				t.Fatalf("lease %s comes twice", item.ID)
			}
			seen[item.ID] = true
		}
		after, more = string(page.Next), page.Next != ""
	}
	if len(seen) != wire.MaxReleases+3 || calls != 2 {
		t.Errorf("%d leases in %d calls, want %d in 2", len(seen), calls, wire.MaxReleases+3)
	}
}

func TestReleaseOfManyRefuses(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	many := `"` + strings.Repeat(leaseID+`", "`, wire.MaxReleases) + leaseID + `"`
	for body, field := range map[string]string{
		`{}`:                                                           "ids",
		`{"reason": "x"}`:                                              "ids",
		`{"ids": []}`:                                                  "ids",
		`{"ids": [` + many + `]}`:                                      "ids",
		`{"ids": ["x"], "all": true}`:                                  "ids",
		`{"ids": ["x"], "filter": {}}`:                                 "ids",
		`{"ids": ["x"], "after": "y"}`:                                 "after",
		`{"filter": {}}`:                                               "filter",
		`{"filter": {"state": "x"}}`:                                   "filter.state",
		`{"filter": {"Type": "host"}}`:                                 "filter.Type",
		`{"filter": {"status": "x"}}`:                                  "filter.status",
		`{"filter": {"type": "X Y"}}`:                                  "filter.type",
		`{"filter": {"resource": "x"}}`:                                "filter.resource",
		`{"filter": {"owner": "a\u0000"}}`:                             "filter.owner",
		`{"filter": {"owner": 1}}`:                                     "filter.owner",
		`{"filter": {"status": "destroyed"}}`:                          "filter.status",
		`{"filter": {"owner": "x"}, "all": true}`:                      "all",
		`{"all": true, "after": "destroyed:x"}`:                        "after",
		`{"all": true, "after": "x"}`:                                  "after",
		`{"all": true, "more": 1}`:                                     "more",
		`{"all": true, "reason": "` + strings.Repeat("x", 1001) + `"}`: "reason",
	} {
		got := e.post(body)
		if got.status != http.StatusUnprocessableEntity || string(got.problem(t).Field) != field {
			t.Errorf("%.80s = %d %s, want 422 for %s", body, got.status, got.body, field)
		}
	}
	for _, path := range []string{"/v1/leases:destroy", "/v1/leases:releases", "/v1/leases:", "/v1/leasesrelease", "/v1/leases%3Arelease", "/v1/leases:release/x", `/v1/leases%5C:release`} {
		if got := e.do(http.MethodPost, path, `{"all": true}`); got.status != http.StatusNotFound {
			t.Errorf("POST %s = %d %s, want 404", path, got.status, got.body)
		}
	}
	if got := e.do(http.MethodGet, "/v1/leases:release", ""); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("GET = %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	for name := range e.ids {
		if len(e.commands(name)) != 0 {
			t.Errorf("%s has commands", name)
		}
	}
	if log := e.log.String(); strings.Contains(log, `"route":"/v1/leases\\:release"`) || !strings.Contains(log, `"route":"/v1/leases:release"`) {
		t.Error("the log does not name the route as people do")
	}
}

// TestHoldersReleaseManyOfTheirOwn: the others' answer 403, one by one, and get no command.
func TestHoldersReleaseManyOfTheirOwn(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t, withPeople)
	gone := model.NewID()
	body := `{"ids": ["` + strings.Join([]string{e.ids["ada-1"], e.ids["eve-1"], gone, "x"}, `", "`) + `"]}`
	if got := e.post(body, bearer("ada.viewer.ALL")); got.status != http.StatusForbidden {
		t.Errorf("a viewer = %d %s", got.status, got.body)
	}
	statuses, page := e.released(body, bearer("ada.holder."+e.ns))
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, "eve-1": 403, gone: 404, "x": 404})
	if detail := page.Items[1].Error.Detail; !strings.Contains(detail, `belongs to "eve"`) {
		t.Errorf("the reason is %q", detail)
	}
	statuses, _ = e.released(`{"all": true}`, bearer("ada.holder."+e.ns))
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, "ada-2": 202, "eve-1": 403})
	if len(e.commands("eve-1")) != 0 {
		t.Error("a holder has released the lease of another")
	}
	statuses, _ = e.released(body, bearer("ops.operator."+e.ns))
	e.wantStatuses(statuses, map[string]int{"ada-1": 202, "eve-1": 202, gone: 404, "x": 404})
	if got := e.commands("eve-1"); len(got) != 1 || got[0].Author != "ops" {
		t.Errorf("the commands of eve-1 are %+v, want one by ops", got)
	}
}

// TestReleaseOfManyAgain: the reply was lost, or even the process died between sending and answering. A repetition sends nothing twice
// and nothing to leases that came since.
func TestReleaseOfManyAgain(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	const key = "Idempotency-Key: k"
	for name, body := range map[string]string{"ids": `{"ids": ["` + e.ids["ada-1"] + `"]}`, "all": `{"all": true}`} {
		header := key + name
		before := len(e.commands("ada-1"))
		e.fail = func() error { return model.Unavailable(errors.New("the reply was lost")) }
		if got := e.post(body, header); got.status != http.StatusServiceUnavailable {
			t.Errorf("%s = %d %s", name, got.status, got.body)
		}
		e.fail = nil
		late := "late-" + name
		e.create(late)
		first, again := e.post(body, header), e.post(body, header)
		if first.status != http.StatusAccepted || first.header.Get("Idempotency-Replayed") != "true" || string(first.body) != string(again.body) {
			t.Errorf("%s: first %d %s\nagain %d %s", name, first.status, first.body, again.status, again.body)
		}
		commands := e.commands("ada-1")
		if len(commands) != before+1 || !strings.Contains(string(first.body), commands[before].ID) {
			t.Errorf("%s: ada-1 has %d commands, want one more than %d, and that in the answer %s", name, len(commands), before, first.body)
		}
		if len(e.commands(late)) != 0 {
			t.Errorf("%s: the repetition released a lease that came later", name)
		}
		if got := e.post(`{"ids": ["x"]}`, header); got.status != http.StatusUnprocessableEntity || got.problem(t).Code != "key_reused" {
			t.Errorf("another request with the key = %d %s", got.status, got.body)
		}
	}
}

// TestRepetitionGetsTheFirstAnswerWordForWord: the lease has moved on since, and is gone in the end.
func TestRepetitionGetsTheFirstAnswerWordForWord(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	if _, _, _, err := e.real.PutBlueprint(t.Context(), &model.Blueprint{
		Namespace: e.ns, Name: "lab", Kind: "pool", Type: "host", Enabled: true, Config: []byte(`{}`),
	}, model.Condition{}); err != nil {
		t.Fatal(err)
	}
	create := func() answer {
		return e.do(http.MethodPost, "/v1/leases?namespace="+e.ns, `{"type": "host", "owner": "ada"}`, "Idempotency-Key: create")
	}
	made := create()
	id := idOf(made.body)
	release := func() answer {
		return e.do(http.MethodPost, "/v1/leases/"+id+"/release?namespace="+e.ns, "", "Idempotency-Key: release")
	}
	sent := release()
	if made.status != http.StatusAccepted || sent.status != http.StatusAccepted {
		t.Fatalf("create = %d %s\nrelease = %d %s", made.status, made.body, sent.status, sent.body)
	}
	same := func(when string) {
		t.Helper()
		for what, pair := range map[string][2]answer{"create": {made, create()}, "release": {sent, release()}} {
			first, again := pair[0], pair[1]
			if first.status != again.status || string(first.body) != string(again.body) || first.header.Get("Location") != again.header.Get("Location") {
				t.Errorf("%s, %s was answered %d %s\nand is %d %s", when, what, first.status, first.body, again.status, again.body)
			}
			if again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s, the answer to %s does not say that it is a repetition", when, what)
			}
		}
	}
	same("at once")
	c, err := e.real.Claim(t.Context(), model.LeaseRef(e.ns, id), "w1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.real.ApplyLease(t.Context(), c, store.LeaseStep{
		Step: store.Step{Consume: []store.Consumption{{Command: c.Commands[0], Outcome: model.OutcomeApplied}}},
		Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
	}); err != nil {
		t.Fatal(err)
	}
	same("when it is destroyed")
	for left := int64(1); left > 0; {
		if _, left, err = e.real.Collect(t.Context(), e.ns, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.real.Lease(t.Context(), e.ns, id); !errors.Is(err, model.ErrLeaseNotFound) {
		t.Fatalf("the lease is still there: %v", err)
	}
	same("when it is collected")
}

// TestLostRecordIsAnsweredFromWhatIsStored: the answer could not be recorded. Neither the request nor its repetition suffers.
func TestLostRecordIsAnsweredFromWhatIsStored(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	e.save = func() error { return errors.New("lost") }
	const body, key = `{"all": true}`, "Idempotency-Key: k"
	first, again := e.post(body, key), e.post(body, key)
	if first.status != http.StatusAccepted || string(first.body) != string(again.body) || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %d %s\nagain %d %s, %v", first.status, first.body, again.status, again.body, again.header)
	}
	if !strings.Contains(e.log.String(), "could not record the answer") {
		t.Error("the log does not say that the answer was not recorded")
	}
}

// TestDuplicatesAtOnceGetOneAnswer: a repetition comes while the first request is still being answered, and is quicker: the first gives
// the answer that the repetition has recorded.
func TestDuplicatesAtOnceGetOneAnswer(t *testing.T) {
	t.Parallel()
	e := newReleaseEnv(t)
	const body, key = `{"all": true}`, "Idempotency-Key: k"
	var second answer
	e.save = func() error {
		e.save = nil
		// The lease moves on between the two, and would be told of in another way.
		c, err := e.real.Claim(t.Context(), model.LeaseRef(e.ns, e.ids["ada-1"]), "w1")
		if err == nil {
			_, err = e.real.ApplyLease(t.Context(), c, store.LeaseStep{
				Step: store.Step{Consume: []store.Consumption{{Command: c.Commands[0], Outcome: model.OutcomeApplied}}},
				Path: []model.LeaseState{model.LeaseReleased},
			})
		}
		second = e.post(body, key)
		return err
	}
	first := e.post(body, key)
	if first.status != second.status || string(first.body) != string(second.body) {
		t.Errorf("the first was answered %d %s\nand its duplicate %d %s", first.status, first.body, second.status, second.body)
	}
}

// TestReleaseOfManyIsOneAnswerOrNone: what concerns all of them is no matter of one.
func TestReleaseOfManyIsOneAnswerOrNone(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"internal": errors.New("x"), "unavailable": model.Unavailable(errors.New("x"))} {
		a := newAPI(t, &fakeStore{fakeBatch: fakeBatch{sendAll: func(cmds []model.Command) ([]model.SendResult, error) {
			return slices.Repeat([]model.SendResult{{Err: err}}, len(cmds)), nil
		}}})
		if got := a.do(http.MethodPost, "/v1/leases:release", `{"ids": ["`+leaseID+`"]}`); got.status < 500 {
			t.Errorf("%s = %d %s", name, got.status, got.body)
		}
	}
}
