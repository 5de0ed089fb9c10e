package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"drydock/model"
)

// Redirect signs people in at an OpenID Connect issuer, so that nobody has to paste a JWT. *[drydock/auth.Login] is one.
type Redirect interface {
	// Host names the issuer to people.
	Host() string
	// Begin returns where to send somebody who wants to sign in.
	Begin(state, verifier string) (string, error)
	// Finish turns the code of somebody who came back into their JWT.
	Finish(ctx context.Context, code, verifier string) (string, error)
}

// CallbackPath is where an issuer sends people back to.
const CallbackPath = "/console/login/callback"

// A sign-in that is under way is kept in a cookie of its own, so that any process can finish it and nobody can be made to finish another's.
const (
	attemptCookie = "drydock_login"
	attemptPath   = "/console/login"
	attemptTime   = 10 * time.Minute
)

// attempt is a sign-in that is under way.
type attempt struct {
	State    string `json:"state"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
}

// signInElsewhere sends somebody to the issuer.
func (c *Console) signInElsewhere(w http.ResponseWriter, r *http.Request) {
	// A text of crypto/rand has 26 characters; a verifier needs 43.
	a := attempt{State: rand.Text() + rand.Text(), Verifier: rand.Text() + rand.Text(), Next: localPath(r.FormValue("next"))}
	to, err := c.cfg.Redirect.Begin(a.State, a.Verifier)
	text, encodeErr := json.Marshal(a)
	if err := cmp.Or(err, encodeErr); err != nil {
		c.loginFailed(w, r, a.Next, err)
		return
	}
	http.SetCookie(w, c.attempt(r, base64.RawURLEncoding.EncodeToString(text), int(attemptTime.Seconds())))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// attempt makes the cookie of a sign-in. It must come along when another site leads here, so it is Lax where the session is Strict.
func (c *Console) attempt(r *http.Request, value string, maxAge int) *http.Cookie {
	cookie := c.cookie(r, value, maxAge) //nolint:gosec // as there
	cookie.Name, cookie.Path, cookie.SameSite = attemptCookie, attemptPath, http.SameSiteLaxMode
	return cookie
}

// comeBack lets in who comes back from the issuer.
func (c *Console) comeBack(w http.ResponseWriter, r *http.Request) {
	a, err := attemptOf(r)
	http.SetCookie(w, c.attempt(r, "", -1))
	if problem := r.FormValue("error"); err == nil && problem != "" {
		err = model.Errorf(model.ErrorUnauthenticated, "the issuer says %s", model.Quote(problem+" "+r.FormValue("error_description")))
	}
	token := ""
	if err == nil {
		token, err = c.cfg.Redirect.Finish(r.Context(), r.FormValue("code"), a.Verifier)
	}
	if err == nil {
		err = c.admit(r, token)
	}
	if err != nil {
		c.loginFailed(w, r, localPath(a.Next), err)
		return
	}
	http.SetCookie(w, c.cookie(r, token, 0))
	// Not a redirect: the browser would take it as led here by the other site, and keep the session to itself.
	c.render(w, r, http.StatusOK, "welcome", &view{Title: "Signed in", Next: localPath(a.Next)})
}

// attemptOf returns the sign-in that a request finishes, if its state is the one that this browser was sent away with.
func attemptOf(r *http.Request) (a attempt, err error) {
	cookie, err := r.Cookie(attemptCookie)
	if err == nil {
		var text []byte
		if text, err = base64.RawURLEncoding.DecodeString(cookie.Value); err == nil {
			err = json.Unmarshal(text, &a)
		}
	}
	if err != nil || a.State == "" || subtle.ConstantTimeCompare([]byte(a.State), []byte(r.FormValue("state"))) != 1 {
		return attempt{}, model.Errorf(model.ErrorUnauthenticated, "this browser did not begin that sign-in, or more than %s ago; begin again", length(attemptTime))
	}
	return a, nil
}
