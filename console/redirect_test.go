package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"drydock/console"
	"drydock/model"
)

// elsewhere is an issuer that gives door's good token for the code "good", whose verifier it was sent away with.
type elsewhere struct{ verifier string }

func (*elsewhere) Host() string { return "login.example.com" }

func (e *elsewhere) Begin(state, verifier string) (string, error) {
	e.verifier = verifier
	return "https://login.example.com/authorize?state=" + url.QueryEscape(state), nil
}

func (e *elsewhere) Finish(_ context.Context, code, verifier string) (string, error) {
	switch {
	case verifier != e.verifier:
		return "", model.Errorf(model.ErrorUnauthenticated, "another verifier")
	case code == "down":
		return "", model.Errorf(model.ErrorUnavailable, "the issuer cannot be reached")
	}
	return code, nil
}

func TestSignInByRedirect(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		next    string // asked for before the sign-in
		query   string // of the issuer's, beside the state
		state   string // in the place of the right one
		cookie  string // in the place of the right one
		status  int
		session bool
		says    string
	}{
		"the right code":          {next: "/console/leases", query: "code=good", status: 200, session: true, says: `content="0;url=/console/leases"`},
		"to another site":         {next: "//evil.example", query: "code=good", status: 200, session: true, says: `content="0;url=/"`},
		"a JWT that is no good":   {query: "code=bad", status: 401, says: "the token is not known here"},
		"a JWT that does not fit": {query: "code=" + strings.Repeat("x", 5000), status: 401, says: "longer than the 4000 bytes"},
		"the issuer is away":      {query: "code=down", status: 503, says: "cannot be reached"},
		"the issuer says no":      {query: "error=access_denied&error_description=<b>not you</b>", status: 401, says: "access_denied &lt;b&gt;not you"},
		"another state":           {query: "code=good", state: "theirs", status: 401, says: "did not begin that sign-in"},
		"no state":                {query: "code=good", state: "-", status: 401, says: "did not begin that sign-in"},
		"no cookie":               {query: "code=good", cookie: "-", status: 401, says: "did not begin that sign-in"},
		"a cookie of rubbish":     {query: "code=good", cookie: "drydock_login=%%%", status: 401, says: "did not begin that sign-in"},
		"a cookie without a state": {
			query: "code=good", state: "-", cookie: "drydock_login=e30", status: 401, says: "did not begin that sign-in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := console.New(console.Config{Auth: door{}, Redirect: &elsewhere{}, API: http.NotFoundHandler()})
			get := func(path string, header ...string) *httptest.ResponseRecorder {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
				for i := 0; i < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				w := httptest.NewRecorder()
				c.ServeHTTP(w, r)
				return w
			}
			away := get("/console/login/start?next=" + url.QueryEscape(tc.next))
			to, err := url.Parse(away.Header().Get("Location"))
			if err != nil || to.Host != "login.example.com" {
				t.Fatalf("sent to %q: %v", away.Header().Get("Location"), err)
			}
			cookie := away.Result().Cookies()[0]
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge <= 0 {
				t.Errorf("the attempt's cookie is %v", cookie)
			}
			shown := cookie.Name + "=" + cookie.Value
			if tc.cookie != "" {
				shown = strings.TrimPrefix(tc.cookie, "-")
			}
			state := to.Query().Get("state")
			if tc.state != "" {
				state = strings.TrimPrefix(tc.state, "-")
			}
			query, err := url.ParseQuery(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			query.Set("state", state)
			back := get(console.CallbackPath+"?"+query.Encode(), "Cookie", shown, "Sec-Fetch-Site", "cross-site")
			session, gone := false, false
			for _, c := range back.Result().Cookies() {
				session = session || c.Name == "drydock_session" && c.Value == "good" && c.SameSite == http.SameSiteStrictMode
				gone = gone || c.Name == cookie.Name && c.MaxAge < 0
			}
			if back.Code != tc.status || session != tc.session || !gone || !strings.Contains(back.Body.String(), tc.says) {
				t.Errorf("back with %d, a session: %t, the attempt is over: %t, want %d, %t, true and %q in\n%s", back.Code, session, gone, tc.status, tc.session, tc.says, back.Body)
			}
		})
	}
}

func TestNobodyIsSentElsewhereWhereThereIsNone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/console/login/start", console.CallbackPath} {
		resp := answer(t, http.MethodGet, path, nil)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s = %d, want 404", path, resp.StatusCode)
		}
	}
}
