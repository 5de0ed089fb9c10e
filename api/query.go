package api

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// query is the query string of a request, read strictly: only parameters that the route knows, each once. A filter without a
// value selects everything; a namespace without one is a script whose variable is not set, and must not fall on the default.
type query struct {
	values    url.Values
	namespace string
}

// readQuery reads the query string of a route that knows these parameters, and "namespace".
func readQuery(c echo.Context, known ...string) (query, error) {
	values, err := queryValues(c)
	if err != nil {
		return query{}, err
	}
	known = append(known, "namespace")
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !slices.Contains(known, name):
			return query{}, model.Invalid(shortName(name), "unknown query parameter; known are %s", model.Join(known))
		case len(values[name]) > 1:
			return query{}, model.Invalid(name, "comes more than once in the query")
		case values.Get(name) == "" && name != "namespace":
			delete(values, name)
		}
	}
	namespace, err := namespaceOf(values)
	return query{values: values, namespace: namespace}, err
}

// namespaceOf returns the namespace that a query string asks for.
func namespaceOf(values url.Values) (string, error) {
	switch given := values["namespace"]; len(given) {
	case 0:
		return wire.DefaultNamespace, nil
	case 1:
		return given[0], model.CheckName("namespace", given[0])
	default:
		return "", model.Invalid("namespace", "comes more than once in the query")
	}
}

// suffix is what a link to an object needs behind its path.
func (q query) suffix() string {
	if q.namespace == wire.DefaultNamespace {
		return ""
	}
	return "?namespace=" + q.namespace
}

// limit returns the size of a page.
func (q query) limit() (int, error) {
	if !q.values.Has("limit") {
		return model.DefaultPageLimit, nil
	}
	n, err := strconv.Atoi(q.values.Get("limit"))
	if err != nil || n < 1 || n > model.MaxPageLimit {
		return 0, model.Invalid("limit", "must be a whole number between 1 and %d", model.MaxPageLimit)
	}
	return n, nil
}

// maxCursor bounds a cursor. The longest of ours holds the names of a blueprint and an owner, in base64.
const maxCursor = 400

// after returns the cursor of a page. Only the store knows what is in it.
func (q query) after() (string, error) {
	after := q.values.Get("after")
	if len(after) > maxCursor || !printable(after) {
		return "", model.Invalid("after", "must be the \"next\" of another page")
	}
	return after, nil
}

// page returns size and cursor of a page.
func (q query) page() (limit int, after string, err error) {
	if limit, err = q.limit(); err != nil {
		return 0, "", err
	}
	after, err = q.after()
	return limit, after, err
}

// pageOfIDs is page for lists whose cursors are ids.
func (q query) pageOfIDs() (limit int, after string, err error) {
	limit, after, err = q.page()
	if err == nil && after != "" && !model.ValidID(after) {
		err = model.Invalid("after", "must be the \"next\" of another page")
	}
	return limit, after, err
}

// name returns a parameter that must be a name if it is there.
func (q query) name(param string) (string, error) {
	if !q.values.Has(param) {
		return "", nil
	}
	return q.values.Get(param), model.CheckName(param, q.values.Get(param))
}

// id returns a parameter that must be an id if it is there.
func (q query) id(param string) (string, error) {
	id := q.values.Get(param)
	if q.values.Has(param) && !model.ValidID(id) {
		return "", model.Invalid(param, "%s is not an id", model.Quote(id))
	}
	return id, nil
}

// text returns a parameter that must be plain text if it is there.
func (q query) text(param string, limit int) (string, error) {
	text := q.values.Get(param)
	return text, model.CheckText(param, text, limit)
}

// duration returns a parameter that must be a duration of at most the given one if it is there, else the fallback.
func (q query) duration(param string, fallback, most time.Duration) (time.Duration, error) {
	if !q.values.Has(param) {
		return fallback, nil
	}
	d, err := time.ParseDuration(q.values.Get(param))
	if err != nil || d < 0 || d > most {
		return 0, model.Invalid(param, "must be a duration between 0s and %s such as \"30s\"", most)
	}
	return d, nil
}

// state returns a parameter that must be one of states if it is there.
func state[S ~string](q query, param string, states []S) (S, error) {
	s := S(q.values.Get(param))
	if q.values.Has(param) && !slices.Contains(states, s) {
		return "", model.Invalid(param, "unknown state %s; known are %s", model.Quote(string(s)), model.Join(states))
	}
	return s, nil
}

// pathParam returns a parameter of the path, decoded. Echo matches the path as it was sent when that differs from the usual
// spelling, and then leaves parameters as they are.
func pathParam(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return value
	}
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return value // no id and no name has a percent sign in it
	}
	return decoded
}

// pathRef returns the object that the path names. A malformed id is as unknown as any other, and never becomes part of a key.
func pathRef(c echo.Context, namespace string, kind model.Kind) (model.Ref, error) {
	ref := model.Ref{Namespace: namespace, Kind: kind, ID: pathParam(c, "id")}
	if model.ValidID(ref.ID) {
		c.Set(objectKey, ref)
		return ref, nil
	}
	if kind == model.KindResource {
		return ref, model.ErrResourceNotFound
	}
	return ref, model.ErrLeaseNotFound
}
