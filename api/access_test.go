package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/auth"
	"drydock/model"
)

// people is an Authenticator whose credentials are names and roles: "ada.holder.default" is Ada, a holder in namespace default.
type people struct{}

func (people) Authenticate(_ context.Context, credential string) (*auth.Identity, error) {
	parts := strings.Split(credential, ".")
	switch {
	case credential == "down":
		return nil, model.Errorf(model.ErrorUnavailable, "the issuer cannot be reached")
	case len(parts) == 1:
		return &auth.Identity{Name: credential, Kind: auth.KindOIDC, ID: "sub-" + credential}, nil
	case len(parts) != 3:
		return nil, model.Errorf(model.ErrorUnauthenticated, "the token is not known here")
	}
	if parts[2] == "ALL" {
		parts[2] = auth.AllNamespaces
	}
	return &auth.Identity{
		Name: parts[0], Kind: auth.KindToken, ID: "id-" + parts[0], Grants: []auth.Grant{{Role: auth.Role(parts[1]), Namespaces: parts[2:]}},
	}, nil
}

func withPeople(c *Config) { c.Auth = people{} }

func bearer(credential string) string { return "Authorization: Bearer " + credential }

// leasesOnly is a store in which every lease belongs to owner, and everything else answers that Redis is down: a request that gets
// that far was let through.
type leasesOnly struct {
	*fakeStore

	owner string
}

func (l leasesOnly) Lease(_ context.Context, namespace, id string) (*model.Lease, error) {
	lease := activeLease(namespace)
	lease.ID, lease.Owner = id, l.owner
	return lease, nil
}

func matrixAPI(t *testing.T, owner string) *testAPI {
	f := &fakeStore{down: model.Unavailable(errors.New("not in this test"))}
	a := newAPI(t, f, withPeople, func(c *Config) {
		c.Store = leasesOnly{f, owner}
		c.Asynqmon = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	a.api.endWaits() // the event stream would go on for ever
	return a
}

// everyRoute lists the registered routes with a good request for each.
func everyRoute(t *testing.T, s *Server) map[string]request {
	t.Helper()
	good := goodRequests()
	out := map[string]request{}
	for _, r := range s.echo.Routes() {
		name := r.Method + " " + r.Path
		switch req, ok := good[name]; {
		case r.Method == "echo_route_not_found", r.Method == http.MethodConnect: // CONNECT is no request to a path
		case ok:
			out[name] = req
		case !strings.HasPrefix(r.Path, "/v1/"):
			out[name] = request{r.Method, strings.TrimSuffix(r.Path, "*"), ""}
		default:
			t.Errorf("goodRequests lacks %s", name)
		}
	}
	return out
}

// TestEveryRouteSaysWhatItAsksFor: a new route takes a line in access, and a line in access has a route.
func TestEveryRouteSaysWhatItAsksFor(t *testing.T) {
	t.Parallel()
	s := matrixAPI(t, "").api
	for name, n := range s.needs {
		if n == forgotten && !strings.HasPrefix(name, "echo_route_not_found") {
			t.Errorf("access (access.go) has no entry for %s: add a line that says who may call it", name)
		}
	}
	for name := range access {
		if _, ok := s.needs[name]; !ok {
			t.Errorf("access has an entry for %s, which is no route", name)
		}
	}
}

// refusal says what the matrix expects: the status of a refusal, or 0 when the request is let through.
func refusal(n need, role auth.Role, own, inNamespace, everywhere bool) int {
	switch {
	case n.role == "":
		return 0
	case role == "":
		return http.StatusUnauthorized
	case n.everywhere && !everywhere:
		return http.StatusForbidden
	case !n.everywhere && !inNamespace:
		return http.StatusNotFound
	case role == n.role, slices.Index(auth.Roles(), role) > slices.Index(auth.Roles(), n.role):
		return 0
	case n.own && own && role == auth.RoleHolder:
		return 0
	}
	return http.StatusForbidden
}

// TestAuthorizationMatrix: every role, and nobody, on every route, for an object of its own, of another, and of another namespace.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	roles := append([]auth.Role{""}, auth.Roles()...)
	for _, owner := range []string{"me", "another", ""} {
		a := matrixAPI(t, owner)
		for name, req := range everyRoute(t, a.api) {
			n := a.api.needs[name]
			for _, role := range roles {
				for _, granted := range []string{"default", "elsewhere", "ALL"} {
					var headers []string
					if role != "" {
						headers = append(headers, bearer("me."+string(role)+"."+granted))
					}
					want := refusal(n, role, owner == "me", granted != "elsewhere", granted == "ALL")
					got := a.do(req.method, req.path, req.body, headers...)
					what := fmt.Sprintf("%s by %q in %s, lease of %q = %d", name, role, granted, owner, got.status)
					switch refused := slices.Contains([]int{401, 403, 404, 429}, got.status); {
					case want == 0 && refused:
						t.Errorf("%s %s, want it let through", what, got.body)
					case want != 0 && got.status != want:
						t.Errorf("%s %s, want %d", what, got.body, want)
					}
					if challenge := got.header.Get("WWW-Authenticate"); (got.status == 401) != strings.HasPrefix(challenge, "Bearer ") {
						t.Errorf("%s with WWW-Authenticate %q", what, challenge)
					}
				}
			}
		}
	}
}

// TestWhoMayNotEditMayNotRelease is scenario 36: also not a lease that is pending and has no resource yet.
func TestWhoMayNotEditMayNotRelease(t *testing.T) {
	t.Parallel()
	pending := pendingLease("default")
	pending.Owner = "ada"
	var sent []model.Command
	f := &fakeStore{
		lease: func(context.Context, string, string) (*model.Lease, error) { return pending, nil },
		send: func(_ context.Context, cmd model.Command, _ model.Idempotency) (model.Sent, error) {
			sent = append(sent, cmd)
			return model.Sent{Command: &cmd, Lease: pending}, nil
		},
	}
	a := newAPI(t, f, withPeople)
	for _, path := range []string{"/release", "/commands"} {
		body := map[string]string{"/commands": `{"command": "release"}`}[path]
		for _, who := range []string{"eve.holder.default", "eve.viewer.default", "ada.viewer.default"} {
			got := a.do(http.MethodPost, "/v1/leases/"+leaseID+path, body, bearer(who))
			if got.status != http.StatusForbidden || got.problem(t).Code != "forbidden" {
				t.Errorf("%s %s = %d %s", who, path, got.status, got.body)
			}
		}
	}
	if len(sent) != 0 {
		t.Errorf("sent %v", sent)
	}
	for _, who := range []string{"ada.holder.default", "eve.operator.default"} {
		if got := a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "", bearer(who)); got.status != http.StatusAccepted {
			t.Errorf("%s = %d %s", who, got.status, got.body)
		}
	}
	if len(sent) != 2 || sent[0].Author != "ada" || sent[1].Author != "eve" {
		t.Errorf("sent %+v", sent)
	}
}

func TestHoldersMakeLeasesForThemselvesOnly(t *testing.T) {
	t.Parallel()
	var got []model.NewLease
	a := newAPI(t, &fakeStore{blueprints: someBlueprints, createLease: createLease(&got)}, withPeople)
	tests := []struct {
		who, owner, want string // want "" = refused
	}{
		{"ada.holder.default", ``, "ada"},
		{"ada.holder.default", `, "owner": "ada"`, "ada"},
		{"ada.holder.default", `, "owner": "eve"`, ""},
		{"ada.holder.default", `, "owner": "Ada"`, ""},
		{"ada.holder.default", `, "owner": null`, "ada"},
		{"ops.operator.default", ``, "ops"},
		{"ops.operator.default", `, "owner": "eve"`, "eve"},
		{"root.admin.ALL", `, "owner": "eve"`, "eve"},
	}
	for _, test := range tests {
		got = nil
		answer := a.do(http.MethodPost, "/v1/leases", `{"type": "host"`+test.owner+`}`, bearer(test.who))
		switch {
		case test.want == "":
			if p := answer.problem(t); answer.status != http.StatusForbidden || len(got) != 0 || p.Field != "owner" {
				t.Errorf("%s%s = %d %s", test.who, test.owner, answer.status, answer.body)
			}
		case answer.status != http.StatusAccepted || len(got) != 1 || got[0].Owner != test.want:
			t.Errorf("%s%s = %d %s, stored %+v, want owner %s", test.who, test.owner, answer.status, answer.body, got, test.want)
		}
	}
}

func TestAuthorIsTheIdentity(t *testing.T) {
	t.Parallel()
	var cmd model.Command
	a := newAPI(t, &fakeStore{send: sending(&cmd)}, withPeople)
	release := "/v1/resources/" + resourceID + "/release"
	for header, status := range map[string]int{"": 202, "Drydock-Author: ops": 202, "Drydock-Author: ada": 403, "Drydock-Author: drydock": 403} {
		cmd = model.Command{}
		headers := []string{bearer("ops.operator.default")}
		if header != "" {
			headers = append(headers, header)
		}
		got := a.do(http.MethodPost, release, "", headers...)
		if got.status != status || status == 202 && cmd.Author != "ops" || status == 403 && cmd.ID != "" {
			t.Errorf("%q = %d %s, author %q", header, got.status, got.body, cmd.Author)
		}
	}
}

// TestKeysOfOthersAreNotMine: the same Idempotency-Key and the same request, from two callers, are two requests.
func TestKeysOfOthersAreNotMine(t *testing.T) {
	t.Parallel()
	o := newOnceStore()
	a := newAPI(t, o.store(), withPeople)
	send := func(who string) answer {
		return a.do(http.MethodPost, "/v1/leases", `{"type": "host", "owner": "eve"}`, bearer(who), "Idempotency-Key: k")
	}
	for _, who := range []string{"ops.operator.default", "root.admin.default"} {
		if got := send(who); got.status != http.StatusAccepted || got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s = %d %s, a replay", who, got.status, got.body)
		}
	}
	if again := send("ops.operator.default"); again.header.Get("Idempotency-Replayed") != "true" || o.sends != 2 {
		t.Errorf("again = %d %v, %d sends", again.status, again.header, o.sends)
	}
}

func TestWhatIsWrongWithACredentialIsSaidInTheRightWay(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: someBlueprints}, withPeople, func(c *Config) {
		c.Asynqmon = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	const path = "/v1/blueprints"
	tests := []struct {
		name, path string
		headers    []string
		status     int
		challenges string
	}{
		{"none", path, nil, 401, `Bearer realm="drydock"`},
		{"unknown", path, []string{bearer("secret-unknown.x")}, 401, `Bearer realm="drydock", error="invalid_token"`},
		{"two", path, []string{bearer("secret-1"), bearer("secret-2")}, 401, `Bearer realm="drydock"`},
		{"another scheme", path, []string{"Authorization: Digest secret-3"}, 401, `Bearer realm="drydock"`},
		{"issuer down", path, []string{bearer("down")}, 503, ""},
		{"no role", path, []string{bearer("nobody")}, 403, ""},
		{"in the query", path + "?access_token=root.admin.ALL", nil, 401, `Bearer realm="drydock"`},
		{"a browser goes to a page", path, []string{"Sec-Fetch-Mode: navigate"}, 401, `Bearer realm="drydock"; Basic realm="drydock", charset="UTF-8"`},
		{"dashboard", "/asynqmon/", nil, 401, `Bearer realm="drydock"; Basic realm="drydock", charset="UTF-8"`},
		{"Basic", path, []string{"Authorization: Basic eDptZS52aWV3ZXIuQUxM"}, 200, ""}, // x:me.viewer.ALL
		{"namespace twice", path + "?namespace=default&namespace=x", []string{bearer("me.viewer.default")}, 422, ""},
		{"no namespace", path + "?namespace=", []string{bearer("me.viewer.ALL")}, 422, ""},
		{"a broken query", path + "?a=%zz", []string{bearer("me.viewer.ALL")}, 400, ""},
		{"no route", "/v1/nothing", nil, 404, ""},
	}
	for _, test := range tests {
		got := a.do(http.MethodGet, test.path, "", test.headers...)
		if challenges := strings.Join(got.header.Values("WWW-Authenticate"), "; "); got.status != test.status || challenges != test.challenges {
			t.Errorf("%s = %d %s, WWW-Authenticate %q; want %d, %q", test.name, got.status, got.body, challenges, test.status, test.challenges)
		}
		if strings.Contains(string(got.body), "secret") {
			t.Errorf("%s: the answer quotes the credential: %s", test.name, got.body)
		}
	}
	log := a.log.String()
	for _, secret := range []string{"secret", "viewer.ALL", "eDptZS5"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, `"user":"me (token id-me)"`) {
		t.Errorf("the log does not say who it was:\n%s", log)
	}
}

// TestForeignNamespaceLooksLikeNone: the answer does not depend on whether there is anything.
func TestForeignNamespaceLooksLikeNone(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{}, withPeople) // the store, if called, fails the test
	for _, path := range []string{"/v1/leases", "/v1/leases/" + leaseID, "/v1/leases/nope", "/v1/blueprints/lab"} {
		got := a.do(http.MethodGet, path+"?namespace=secret", "", bearer("me.admin.default"))
		if p := got.problem(t); got.status != 404 || p.Detail != `there is no namespace secret for "me"` {
			t.Errorf("%s = %d %s", path, got.status, got.body)
		}
	}
}

func TestMetricsMayBeOpened(t *testing.T) {
	t.Parallel()
	for opened, want := range map[bool]int{false: 401, true: 200} {
		a := newAPI(t, &fakeStore{}, withPeople, func(c *Config) { c.OpenMetrics = opened })
		if got := a.do(http.MethodGet, "/metrics", ""); got.status != want {
			t.Errorf("open %t: /metrics = %d, want %d", opened, got.status, want)
		}
	}
}

// accessTable is the table of docs/security.md.
func accessTable() string {
	says := map[need]string{
		open: "everybody", viewing: "viewer", viewingAll: "viewer of all namespaces", leasing: "holder",
		editing: "holder of the lease, operator", operating: "operator", operatingAll: "operator of all namespaces", administering: "admin",
	}
	entries := map[string]need{"GET /asynqmon/": viewingAll, "POST, DELETE /asynqmon/": operatingAll}
	maps.Copy(entries, access)
	var rows []string
	for route, n := range entries {
		method, path, _ := strings.Cut(route, " /")
		path = strings.NewReplacer(":id", "{id}", ":name", "{name}", `\`, "").Replace("/" + path)
		rows = append(rows, path+" "+fmt.Sprintf("| `%s` | %s | %s |\n", path, method, says[n]))
	}
	slices.Sort(rows) // by path; "/v1/leases" comes before what is below it
	for i, row := range rows {
		_, rows[i], _ = strings.Cut(row, " ")
	}
	return "| path | method | least role |\n|---|---|---|\n" + strings.Join(rows, "")
}

// TestDocsHaveTheTable: go test -update writes it anew.
func TestDocsHaveTheTable(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/security.md", "<!-- access table: begin -->\n", "<!-- access table: end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks %s or %s", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+accessTable()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(accessTable(), table); diff != "" {
		t.Errorf("%s differs from access (-access +docs):\n%s", file, diff)
	}
}

// TestOpenAPISaysWhereATokenIsNeeded compares the answers and the security of every operation with the table.
func TestOpenAPISaysWhereATokenIsNeeded(t *testing.T) {
	t.Parallel()
	doc := document(t)
	for route, n := range access {
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer(":id", "{id}", ":name", "{name}", `\`, "").Replace(path)
		op, _ := at(t, doc, "paths", path, strings.ToLower(method)).(anyMap)
		answers, _ := at(t, op, "responses").(anyMap)
		if security, ok := op["security"].([]any); (ok && len(security) == 0) != (n == open) {
			t.Errorf("%s has security %v; it is open: %t", route, op["security"], n == open)
		}
		for status, want := range map[string]bool{
			"401": n != open, "429": n != open, "403": n != open, "404": n != open && !n.everywhere, // 403 also for who has no role at all
		} {
			if _, ok := answers[status]; ok != want {
				t.Errorf("%s has the answer %s: %t, want %t", route, status, ok, want)
			}
		}
	}
}
