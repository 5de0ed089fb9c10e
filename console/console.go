package console

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drydock/api/wire"
	"drydock/auth"
	"drydock/client"
	"drydock/model"
)

// Config says what a [Console] stands in front of.
type Config struct {
	// API answers everything that is not the console's, and what the pages ask. Required.
	API http.Handler
	// AsynqmonRoot is where the API serves Asynqmon, without a slash at its end; default "/asynqmon".
	AsynqmonRoot string
	// Auth tells whose token it is; nil = nobody is asked, and there is no login.
	Auth auth.Authenticator
	// Redirect signs people in at an issuer whose JWTs Auth takes; nil = they show a token themselves.
	Redirect Redirect
	// Status tells the overview how the whole is; nil = it does not say.
	Status func(ctx context.Context, namespace string) (Status, error)
	// Log takes what went wrong; default [slog.Default].
	Log *slog.Logger
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// Status is how the whole is, for the overview.
type Status struct {
	// Workers counts the worker processes that said lately that they live.
	Workers int
	// Overdue is how long the first object that is owed an update has been due.
	Overdue time.Duration
	// Oldest is the command that has waited longest to be consumed; nil = none waits.
	Oldest *model.Command
	// Usage is how much was in use over the last day, oldest first; the last sample is of now.
	Usage []Sample
}

// Sample is how much was in use at one moment.
type Sample struct {
	At time.Time
	// Leased counts the leases that had a place, Waiting those that waited for one.
	Leased, Waiting int
}

// UsageSpan is how far back the chart of the overview goes.
const UsageSpan = 24 * time.Hour

//go:embed templates/*.html
var templates embed.FS

//go:embed static
var static embed.FS

// Console serves the pages. It is an [http.Handler] and needs no start.
type Console struct {
	cfg   Config
	mux   *http.ServeMux
	pages map[string]*template.Template
	// sameOrigin refuses what a browser sends on behalf of another site's page.
	sameOrigin *http.CrossOriginProtection
}

// How slowly a form may come in and a page may be taken, as with the API.
const (
	readTimeout  = 15 * time.Second
	writeTimeout = time.Minute
)

// New returns a console. It panics without an API, which is a mistake in the program.
func New(cfg Config) *Console {
	if cfg.API == nil {
		panic("console.New: API is required")
	}
	cfg.AsynqmonRoot = cmp.Or(cfg.AsynqmonRoot, "/asynqmon")
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Console{cfg: cfg, mux: http.NewServeMux(), pages: map[string]*template.Template{}, sameOrigin: http.NewCrossOriginProtection()}
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/parts.html"))
	for _, name := range []string{"overview", "leases", "resources", "blueprints", "authorizations", "object", "tasks", "login", "welcome", "error"} {
		c.pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templates, "templates/"+name+".html"))
	}
	files, _ := fs.Sub(static, "static") // the folder is embedded above
	c.mux.Handle("GET /console/static/", http.StripPrefix("/console/static/", http.FileServerFS(files)))
	c.mux.HandleFunc("GET /console/login", c.loginForm)
	c.mux.HandleFunc("POST /console/login", c.login)
	if cfg.Auth != nil && cfg.Redirect != nil {
		c.mux.HandleFunc("GET /console/login/start", c.signInElsewhere)
		c.mux.HandleFunc("GET "+CallbackPath, c.comeBack)
	}
	c.mux.HandleFunc("POST /console/logout", c.logout)
	c.mux.HandleFunc("GET /console/events", c.events)
	c.page("GET /{$}", c.overview)
	c.page("GET /console/{$}", c.overview)
	c.page("GET /console/leases", c.leases)
	c.page("GET /console/resources", c.resources)
	c.page("GET /console/blueprints", c.blueprints)
	c.page("GET /console/authorizations", c.authorizations)
	c.page("GET /console/tasks", c.tasks)
	c.page("POST /console/release", c.releaseMany)
	c.page("POST /console/authorizations", c.decide)
	c.page("POST /console/blueprints/{name}", c.enable)
	for _, kind := range model.Kinds() {
		c.page("GET /console/"+string(kind)+"s/{id}", c.object(kind))
		c.page("POST /console/"+string(kind)+"s/{id}", c.send(kind))
	}
	return c
}

// policy lets a page load what this server serves, run no script but its file, and be in no frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"frame-src 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP serves the console's pages, and hands on to the API what is not one.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead), path == "/console", strings.HasPrefix(path, "/console/"):
	case path == c.cfg.AsynqmonRoot, strings.HasPrefix(path, c.cfg.AsynqmonRoot+"/"):
		// Whoever goes there with a browser gets it below the same header. Frames, scripts and programs get it as it is.
		if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Dest") == "document" {
			inside := url.Values{"path": {strings.TrimPrefix(r.URL.RequestURI(), c.cfg.AsynqmonRoot)}}
			http.Redirect(w, r, "/console/tasks?"+inside.Encode(), http.StatusSeeOther)
			return
		}
		c.cfg.API.ServeHTTP(w, c.withSession(r))
		return
	default:
		c.cfg.API.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if strings.HasPrefix(path, "/console/static/") {
		h.Set("Cache-Control", "max-age=300")
	}
	rc := http.NewResponseController(w)
	// Errors: a writer without deadlines is one of a test. The event stream sets its own.
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(c.cfg.Now().Add(readTimeout))
	}
	_ = rc.SetWriteDeadline(c.cfg.Now().Add(writeTimeout))
	if err := c.sameOrigin.Check(r); err != nil {
		c.fail(w, r, nil, model.Errorf(model.ErrorForbidden, "a browser may send this only from a page of this server"))
		return
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	}
	c.mux.ServeHTTP(w, r)
}

// visit is one request of somebody who is let in.
type visit struct {
	api       *client.Client
	who       *auth.Identity // nil = nobody is asked
	namespace string
	now       time.Time
}

// role is what the visitor may do in the namespace.
func (v *visit) role() auth.Role {
	if v.who == nil {
		return auth.RoleAdmin
	}
	return v.who.RoleIn(v.namespace)
}

// page registers a handler for those who are let in. Its error becomes a page that says what happened.
func (c *Console) page(pattern string, handle func(http.ResponseWriter, *http.Request, *visit) error) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visit(r)
		if err == nil {
			err = handle(w, r, v)
		}
		if err == nil {
			return
		}
		if c.cfg.Auth != nil && (model.KindOf(err) == model.ErrorUnauthenticated || errors.Is(err, client.ErrUnauthorized)) {
			http.Redirect(w, r, "/console/login?next="+escape(r.URL.RequestURI()), http.StatusSeeOther) //nolint:gosec // the path is ours, the rest is escaped
			return
		}
		c.fail(w, r, v, err)
	})
}

// visit finds out who asks and makes the client that asks the API for them.
func (c *Console) visit(r *http.Request) (*visit, error) {
	v := &visit{namespace: cmp.Or(r.FormValue("namespace"), wire.DefaultNamespace), now: c.cfg.Now()}
	token := ""
	if c.cfg.Auth != nil {
		var err error
		if token, err = credential(r); err != nil {
			return nil, err
		}
		if v.who, err = c.cfg.Auth.Authenticate(r.Context(), token); err != nil {
			return nil, err
		}
		if r.FormValue("namespace") == "" && v.who.RoleIn(v.namespace) == "" && len(v.who.Grants) > 0 {
			v.namespace = v.who.Grants[0].Namespaces[0]
		}
	}
	var err error
	v.api, err = client.New(client.Config{
		Server: "http://console.invalid", Token: token, Namespace: v.namespace, Via: model.ViaConsole, UserAgent: plain(r.UserAgent()),
		HTTP: &http.Client{Transport: inProcess{api: c.cfg.API, browser: r}}, Retry: client.Retry{Attempts: 1},
	})
	return v, err
}

func plain(s string) string {
	return cmp.Or(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s), "unknown")
}
