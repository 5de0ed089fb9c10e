package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"drydock/auth"
	"drydock/model"
)

// oneDoor lets everybody in who shows something that could be a token, and remembers it.
type oneDoor struct{ shown *[]string }

func (d oneDoor) Authenticate(_ context.Context, credential string) (*auth.Identity, error) {
	*d.shown = append(*d.shown, credential)
	if credential != "good" {
		return nil, model.Errorf(model.ErrorUnauthenticated, "the token is not known here")
	}
	return &auth.Identity{Name: "ada", Grants: []auth.Grant{{Role: auth.RoleAdmin, Namespaces: []string{"*"}}}}, nil
}

// FuzzSession: a session's cookie is as good as an Authorization header, and no better.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{"", "good", "a b", `"good"`, "a,b", "ä", "good=", "===", strings.Repeat("a", 20<<10), "ddk_x.y~z+/-", "a\x00", "a;drydock_session=good"} {
		f.Add(seed, "")
		f.Add(seed, "Bearer good")
	}
	f.Fuzz(func(t *testing.T, cookie, header string) {
		var shown []string
		c := &Console{cfg: Config{Auth: oneDoor{&shown}}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/asynqmon/", http.NoBody)
		r.Header.Set("Cookie", cookieName+"="+cookie)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		token, err := credential(r)
		if (err == nil) != (token != "") || err != nil && model.KindOf(err) != model.ErrorUnauthenticated {
			t.Fatalf("%q and %q are %q, %v", cookie, header, token, err)
		}
		if err == nil {
			if same, err := auth.ParseHeader([]string{"Bearer " + token}); err != nil || same != token {
				t.Errorf("%q is let in, and the API would say %v", token, err)
			}
		}
		handed := c.withSession(r).Header
		if header != "" && handed.Get("Authorization") != header {
			t.Errorf("%q is handed on as %q", header, handed.Get("Authorization"))
		}
		if given := handed.Get("Authorization"); header == "" && given != "" && given != "Bearer "+token {
			t.Errorf("the session %q is handed on as %q, want %q", cookie, given, token)
		}
	})
}

// FuzzLocalPath: whatever is asked for, the way after the login stays on this server.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"", "/", "/console/leases?status=active", "//evil.example", `/\evil.example`, "/%2f/evil.example", "https://evil.example", "javascript:x", "/\tx", "/.//evil.example", "/..//evil.example/", "/a?next=//evil.example", " /x"} {
		f.Add(seed)
	}
	here, err := url.Parse("https://drydock.example/console/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := localPath(next)
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/console/login", http.NoBody), got, http.StatusSeeOther)
		to := w.Header().Get("Location")
		u, err := here.Parse(to)
		if err != nil || u.Host != here.Host || u.Scheme != here.Scheme || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
			t.Errorf("%q leads to %q", next, to)
		}
	})
}

// FuzzPages: whatever a browser sends, a page of the console answers that, with nothing in it that the visitor wrote and a browser would run.
func FuzzPages(f *testing.F) {
	paths := []string{
		"/", "/console/leases", "/console/resources", "/console/blueprints", "/console/authorizations", "/console/tasks", "/console/login", "/console/leases/x", "/console/resources/x",
		"/console/release", "/console/blueprints/lab", "/console/logout", "/console/static/", "/console/nothing",
	}
	const mark = "<fuzz>"
	for i := range paths {
		f.Add(uint8(i), false, "namespace=ci&status=active&q=%3Cfuzz%3E&sort=until&after=x", "", `{"items":[],"next":"c"}`)
		f.Add(uint8(i), true, "", "command=extend&ttl=1h&reason=%3Cfuzz%3E&id=x&token=good&next=//evil.example&enabled=true", `{"command":null,"lease":{"id":"x"}}`)
	}
	f.Add(uint8(1), false, "a=%zz;b", "", `{"items":[{"id":"<fuzz>","owner":"<fuzz>","attributes":{"<fuzz>":"<fuzz>"},"data":{"<fuzz>":1}}]}`)
	f.Add(uint8(7), false, "command=%3Cfuzz%3E", "", `{"id":"x","status":"<fuzz>","data":{"<fuzz>":1},"until":"2030-01-02T03:04:05Z","items":[{"reason":"<fuzz>"}]}`)
	f.Fuzz(func(t *testing.T, at uint8, post bool, query, form, answer string) {
		var shown []string
		var said string
		c := New(Config{Auth: oneDoor{&shown}, Log: slog.New(slog.DiscardHandler), API: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(said))
		})})
		said = answer
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		r := httptest.NewRequestWithContext(t.Context(), method, paths[int(at)%len(paths)], strings.NewReader(form))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.AddCookie(&http.Cookie{Name: cookieName, Value: "good"})
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		// What the API answers wrongly may be a 500 of ours; with an answer that is one it must not be.
		if w.Code >= http.StatusInternalServerError && strings.HasPrefix(w.Body.String(), "The page could not be made") {
			t.Errorf("%s %s?%s: %d %s", method, r.URL.Path, query, w.Code, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && strings.Contains(w.Body.String(), mark) {
			t.Errorf("%s %s?%s shows %s as it is", method, r.URL.Path, query, mark)
		}
		if to := w.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			t.Errorf("%s %s leads to %q", method, r.URL.Path, to)
		}
	})
}
