package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// putRequestable declares a blueprint that takes requests.
func (e *env) putRequestable(name string) {
	e.Helper()
	b := &model.Blueprint{Namespace: e.ns, Name: name, Kind: "pool", Type: "host", Authorize: model.Authorize{Request: true}, Enabled: true}
	_, _, _, err := e.PutBlueprint(e.ctx, b, model.Condition{}) //nolint:dogsled // only the error matters here
	e.must(err)
}

func (e *env) authorize(blueprint, owner string, status model.AuthorizationStatus, reason string) *model.Authorization {
	e.Helper()
	a, _, err := e.Authorize(e.ctx, model.Authorization{
		Namespace: e.ns, Blueprint: blueprint, Owner: owner, Status: status, Author: "root", Origin: model.Origin{Via: model.ViaAPI}, Reason: reason,
	})
	e.must(err)
	return a
}

func TestAuthorizeKeepsTheLastWord(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putRequestable(bp)
	before := e.dump()
	asked := e.authorize(bp, "ada", model.AuthorizationRequested, "please")
	record := func(changed time.Duration, status, reason string) expect {
		return expect{"blueprint:" + bp + ":authorizations ada": fmt.Sprintf(
			`{"requested_ms":%s,"token":"<id>","status":%q,"changed_ms":%s,"author":"root","origin":{"via":"api"},"reason":%q}`,
			at(0), status, at(changed), reason)}
	}
	e.wantChanges(before, record(0, "requested", "please"), expect{"authorizations " + bp + " ada": "0"})
	want := &model.Authorization{
		Namespace: e.ns, Blueprint: bp, Owner: "ada", Status: model.AuthorizationRequested, Author: "root",
		Origin: model.Origin{Via: model.ViaAPI}, Reason: "please", RequestedAt: start, ChangedAt: start,
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requested (-want +got):\n%s", diff)
	}

	e.clock.advance(time.Minute)
	before = e.dump()
	e.authorize(bp, "ada", model.AuthorizationDeclined, "no")
	e.wantChanges(before, record(time.Minute, "declined", "no"))
	// Neither a request nor the same word again changes anything.
	e.clock.advance(time.Minute)
	e.wantNoChange(func() {
		for _, status := range []model.AuthorizationStatus{model.AuthorizationRequested, model.AuthorizationDeclined} {
			a := e.authorize(bp, "ada", status, "again")
			if a.Status != model.AuthorizationDeclined || a.Reason != "no" || !a.ChangedAt.Equal(start.Add(time.Minute)) {
				t.Errorf("%s again = %+v, want what was said first", status, a)
			}
		}
	})
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putBlueprint("open", 0)
	e.wantNoChange(func() {
		a := model.Authorization{Namespace: e.ns, Blueprint: "none", Owner: "ada", Status: model.AuthorizationApproved}
		if _, _, err := e.Authorize(e.ctx, a); !errors.Is(err, model.ErrBlueprintNotFound) {
			t.Errorf("no such blueprint: %v", err)
		}
		a.Blueprint = "open"
		if _, _, err := e.Authorize(e.ctx, a); kindOf(err) != model.ErrorConflict || !strings.Contains(err.Error(), "takes no requests") {
			t.Errorf("no requests: %v", err)
		}
	})
}

func TestAuthorizationsArePaged(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	// Owners are any text; the names of the blueprints begin alike.
	owners := []string{"", "ada lovelace", "zoë {x}\n"}
	blueprints := []string{"lab", "lab-2", "lab.x", "lab0"}
	for _, b := range blueprints {
		e.putRequestable(b)
		for i, owner := range owners {
			status := model.AuthorizationRequested
			if i == 1 {
				status = model.AuthorizationApproved
			}
			e.authorize(b, owner, status, "")
		}
	}
	all := func(f model.AuthorizationFilter) []string {
		t.Helper()
		var got []string
		for range 20 {
			page, err := e.Authorizations(e.ctx, e.ns, f)
			e.must(err)
			if len(page.Items) > f.Limit {
				t.Errorf("a page of %d, want at most %d", len(page.Items), f.Limit)
			}
			for _, a := range page.Items {
				got = append(got, a.Blueprint+"|"+a.Owner)
			}
			if f.After = page.Next; f.After == "" {
				return got
			}
		}
		t.Fatalf("no last page; got %v", got)
		return nil
	}
	var every, labs, adas []string
	for _, b := range blueprints {
		for _, owner := range owners {
			every = append(every, b+"|"+owner)
		}
		adas = append(adas, b+"|ada lovelace")
	}
	for _, owner := range owners {
		labs = append(labs, "lab|"+owner)
	}
	for limit := 1; limit <= 13; limit++ {
		for name, tt := range map[string]struct {
			f    model.AuthorizationFilter
			want []string
		}{
			"all":        {model.AuthorizationFilter{}, every},
			"blueprint":  {model.AuthorizationFilter{Blueprint: "lab"}, labs},
			"owner":      {model.AuthorizationFilter{Owner: "ada lovelace"}, adas},
			"status":     {model.AuthorizationFilter{Status: model.AuthorizationApproved}, adas},
			"both":       {model.AuthorizationFilter{Blueprint: "lab-2", Status: model.AuthorizationApproved}, []string{"lab-2|ada lovelace"}},
			"none":       {model.AuthorizationFilter{Owner: "nobody"}, nil},
			"no request": {model.AuthorizationFilter{Blueprint: "la"}, nil},
		} {
			tt.f.Limit = limit
			if diff := cmp.Diff(tt.want, all(tt.f)); diff != "" {
				t.Errorf("%s by %d (-want +got):\n%s", name, limit, diff)
			}
		}
	}

	// A cursor of another listing shows nothing that the filter leaves out.
	page, err := e.Authorizations(e.ctx, e.ns, model.AuthorizationFilter{Limit: 1})
	e.must(err)
	if got := all(model.AuthorizationFilter{Blueprint: "lab0", Limit: 5, After: page.Next}); len(got) != 3 || got[0] != "lab0|" {
		t.Errorf("lab0 after lab = %v", got)
	}
	if _, err := e.Authorizations(e.ctx, e.ns, model.AuthorizationFilter{After: "!"}); kindOf(err) != model.ErrorInvalid {
		t.Errorf("a cursor that is none: %v", err)
	}
}

// TestAuthorizationsLookAtABoundedNumber: a filter that finds nothing must not keep Redis busy for long.
func TestAuthorizationsLookAtABoundedNumber(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	pipe := e.rdb.Pipeline()
	for i := range scanBudget + 500 {
		owner := fmt.Sprintf("o%05d", i)
		pipe.HSet(e.ctx, blueprintKey(e.ns, bp, "authorizations"), owner, `{"status":"requested"}`)
		pipe.ZAdd(e.ctx, authorizationsKey(e.ns), redis.Z{Member: authorizationMember(bp, owner)})
	}
	e.must(errOf(pipe.Exec(e.ctx)))
	f := model.AuthorizationFilter{Owner: "o02499", Limit: 1}
	first, err := e.Authorizations(e.ctx, e.ns, f)
	e.must(err)
	if len(first.Items) != 0 || first.Next == "" {
		t.Fatalf("the first page has %d items and next %q, want none and more", len(first.Items), first.Next)
	}
	f.After = first.Next
	second, err := e.Authorizations(e.ctx, e.ns, f)
	e.must(err)
	if len(second.Items) != 1 || second.Next != "" {
		t.Errorf("the second page has %d items and next %q, want the one", len(second.Items), second.Next)
	}
}
