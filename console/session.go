package console

import (
	"net/http"
	"net/url"
	"strings"

	"drydock/auth"
	"drydock/model"
)

// cookieName names the session cookie.
const cookieName = "drydock_session"

// maxCookie is what browsers keep of one cookie, with its name.
const maxCookie = 4000

// credential returns the token of a request: of its Authorization header, or else of its session.
func credential(r *http.Request) (string, error) {
	token, err := auth.ParseHeader(r.Header.Values("Authorization"))
	if err != nil || token != "" {
		return token, err
	}
	if token = session(r); token != "" {
		return token, nil
	}
	return "", model.Errorf(model.ErrorUnauthenticated, "sign in first")
}

// session returns the token that a session holds, under the rules for an Authorization header: what could not stand there is no session.
func session(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	token, err := auth.ParseHeader([]string{"Bearer " + cookie.Value})
	if err != nil {
		return ""
	}
	return token
}

// withSession puts a session in the place of the Authorization header, for what only the API serves. Where it does not reach, the API says so.
func (c *Console) withSession(r *http.Request) *http.Request {
	token := session(r)
	if c.cfg.Auth == nil || token == "" || r.Header.Get("Authorization") != "" {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Del("Cookie")
	return r
}

func (c *Console) loginForm(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Auth == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	c.showLogin(w, r, http.StatusOK, localPath(r.FormValue("next")), "")
}

func (c *Console) showLogin(w http.ResponseWriter, r *http.Request, status int, next, problem string) {
	out := &view{Title: "Sign in", Next: next, Problem: problem}
	if c.cfg.Redirect != nil {
		out.Data = c.cfg.Redirect.Host()
	}
	c.render(w, r, status, "login", out)
}

// loginFailed shows the login form again and says why.
func (c *Console) loginFailed(w http.ResponseWriter, r *http.Request, next string, err error) {
	status := http.StatusUnauthorized
	if model.KindOf(err) != model.ErrorUnauthenticated {
		status = http.StatusServiceUnavailable
	}
	c.showLogin(w, r, status, next, "That did not work: "+explain(err)+".")
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Auth == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	next := localPath(r.PostFormValue("next"))
	token, err := auth.ParseHeader([]string{"Bearer " + strings.TrimSpace(r.PostFormValue("token"))})
	if err == nil {
		err = c.admit(r, token)
	}
	if err != nil {
		c.loginFailed(w, r, next, err)
		return
	}
	http.SetCookie(w, c.cookie(r, token, 0))
	http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // localPath let it through
}

// admit says whether a token can become a session.
func (c *Console) admit(r *http.Request, token string) error {
	if len(token) > maxCookie {
		return model.Errorf(model.ErrorUnauthenticated, "the token is longer than the %d bytes that fit into a browser's session", maxCookie)
	}
	_, err := c.cfg.Auth.Authenticate(r.Context(), token)
	return err
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, c.cookie(r, "", -1))
	http.Redirect(w, r, "/console/login", http.StatusSeeOther)
}

// cookie makes the session's cookie, which ends with the browser. Behind a proxy that ends TLS, the proxy's word counts: the worst that a
// forged one does is to keep the cookie from its own sender.
func (c *Console) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // over plain HTTP, as on loopback, a Secure cookie would not come back
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// localPath returns where to go after the login: a path of this server, whatever was asked for.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, "\\") {
		return "/"
	}
	return next
}

// events is the API's event stream, for whoever has a session.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Content-Security-Policy")
	r = c.withSession(r)
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = "/v1/events", ""
	r.RequestURI = r.URL.RequestURI()
	c.cfg.API.ServeHTTP(w, r)
}
