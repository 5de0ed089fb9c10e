package console

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"drydock/api/wire"
	"drydock/auth"
	"drydock/client"
	"drydock/model"
)

const (
	// pageSize is how many rows a list shows.
	pageSize = 50
	// searched is how many objects a search by text and a sort look at: the API's indexes know neither, and a namespace may hold millions.
	searched = model.MaxPageLimit
)

// list is a page of a list.
type list struct {
	Path   string
	States []string
	Query  map[string]string
	Items  any
	Count  int
	// Searched is how many objects a search or sort looked at; 0 = it was none.
	Searched int
	// First and Next link to the first and the following page, with the filters; empty = there is none or it is this one.
	First, Next string
	// Sorts are the links of the headings.
	Sorts map[string]string
	// MayRelease says that some of the leases could be released by the visitor.
	MayRelease bool
	Released   []wire.LeaseRelease
}

// filters are the parameters of a list's URL that survive paging.
func filters(r *http.Request, names ...string) (map[string]string, url.Values) {
	query, keep := map[string]string{}, url.Values{}
	for _, name := range append(names, "namespace", "q", "sort") {
		value := strings.TrimSpace(r.FormValue(name))
		query[name] = value
		if value != "" {
			keep.Set(name, value)
		}
	}
	return query, keep
}

func newList(r *http.Request, path string, names ...string) (*list, url.Values) {
	query, keep := filters(r, names...)
	l := &list{Path: path, Query: query, Sorts: map[string]string{}}
	if r.FormValue("after") != "" {
		l.First = path + "?" + keep.Encode()
	}
	for _, by := range []string{"created", "owner", "type", "until", "name"} {
		sorted := maps.Clone(keep)
		sorted.Set("sort", by)
		l.Sorts[by] = path + "?" + sorted.Encode()
	}
	return l, keep
}

func (l *list) page(r *http.Request) client.PageOptions {
	p := client.PageOptions{Limit: pageSize, After: r.FormValue("after")}
	if l.Query["q"] != "" || l.Query["sort"] != "" && l.Query["sort"] != "created" {
		p.Limit, l.Searched = searched, searched
	}
	return p
}

func (l *list) follow(keep url.Values, next wire.Text) {
	if next != "" {
		keep.Set("after", string(next))
		l.Next = l.Path + "?" + keep.Encode()
	}
}

// narrow leaves the items that hold the text, in the order that was asked for.
func narrow[T any](l *list, items []T, text func(T) string, key func(T) string) []T {
	if l.Searched == 0 {
		return items
	}
	l.Searched = len(items)
	if q := strings.ToLower(l.Query["q"]); q != "" {
		items = slices.DeleteFunc(items, func(item T) bool { return !strings.Contains(strings.ToLower(text(item)), q) })
	}
	if sort := l.Query["sort"]; sort != "" && sort != "created" {
		slices.SortStableFunc(items, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	}
	return items
}

func (c *Console) leases(w http.ResponseWriter, r *http.Request, v *visit) error {
	l, err := c.leaseList(r, v)
	if err != nil {
		return err
	}
	return c.show(w, r, v, "leases", &view{Title: "Leases", Tab: "leases", Data: l})
}

func (c *Console) leaseList(r *http.Request, v *visit) (*list, error) {
	l, keep := newList(r, "/console/leases", "status", "type", "owner", "resource")
	l.States = words(model.LeaseStates())
	page, err := v.api.ListLeases(r.Context(), client.LeaseFilter{
		Status: model.LeaseState(l.Query["status"]), Type: l.Query["type"], Owner: l.Query["owner"], Resource: l.Query["resource"], PageOptions: l.page(r),
	})
	if err != nil {
		return nil, err
	}
	l.follow(keep, page.Next)
	items := narrow(l, page.Items, func(x wire.Lease) string {
		return fmt.Sprint(x.ID, " ", x.Owner, " ", x.Type, " ", x.Resource, " ", x.Blueprint, " ", x.Status, " ", x.Attributes, " ", string(x.Data))
	}, func(x wire.Lease) string {
		switch l.Query["sort"] {
		case "owner":
			return string(x.Owner)
		case "type":
			return x.Type
		case "until":
			if x.Until.IsZero() {
				return "~" // what never ends comes last
			}
			return x.Until.UTC().Format("2006-01-02T15:04:05.000")
		}
		return ""
	})
	rows := make([]leaseRow, 0, len(items))
	for _, x := range items {
		row := leaseRow{Lease: x, Release: releaseOf(v, "lease", x.Status, x.Releasing, string(x.Owner))}
		l.MayRelease = l.MayRelease || row.Release.Allowed
		rows = append(rows, row)
	}
	l.Items, l.Count = rows, len(rows)
	return l, nil
}

type leaseRow struct {
	wire.Lease
	Release action
}

func (c *Console) resources(w http.ResponseWriter, r *http.Request, v *visit) error {
	l, keep := newList(r, "/console/resources", "status", "type", "blueprint")
	l.States = words(model.ResourceStates())
	page, err := v.api.ListResources(r.Context(), client.ResourceFilter{
		Status: model.ResourceState(l.Query["status"]), Type: l.Query["type"], Blueprint: l.Query["blueprint"], PageOptions: l.page(r),
	})
	if err != nil {
		return err
	}
	l.follow(keep, page.Next)
	items := narrow(l, page.Items, func(x wire.Resource) string {
		return fmt.Sprint(x.ID, " ", x.Name, " ", x.Type, " ", x.Blueprint, " ", x.Status, " ", x.Attributes, " ", string(x.Data))
	}, func(x wire.Resource) string {
		switch l.Query["sort"] {
		case "name":
			return x.Name
		case "type":
			return x.Type
		}
		return ""
	})
	l.Items, l.Count = items, len(items)
	return c.show(w, r, v, "resources", &view{Title: "Resources", Tab: "resources", Data: l})
}

func (c *Console) blueprints(w http.ResponseWriter, r *http.Request, v *visit) error {
	l, keep := newList(r, "/console/blueprints")
	page, err := v.api.ListBlueprints(r.Context(), l.page(r))
	if err != nil {
		return err
	}
	l.follow(keep, page.Next)
	items := narrow(l, page.Items, func(x wire.Blueprint) string {
		return fmt.Sprint(x.Name, " ", x.Kind, " ", x.Type, " ", string(x.Config))
	},
		func(x wire.Blueprint) string {
			if l.Query["sort"] == "type" {
				return x.Type
			}
			return x.Name
		})
	l.Items, l.Count, l.MayRelease = items, len(items), v.role().Includes(auth.RoleAdmin)
	return c.show(w, r, v, "blueprints", &view{Title: "Blueprints", Tab: "blueprints", Data: l})
}

func (c *Console) authorizations(w http.ResponseWriter, r *http.Request, v *visit) error {
	l, keep := newList(r, "/console/authorizations", "status", "owner", "blueprint")
	l.States = words(model.AuthorizationStatuses())
	page, err := v.api.ListAuthorizations(r.Context(), client.AuthorizationFilter{
		Blueprint: l.Query["blueprint"], Owner: l.Query["owner"], Status: model.AuthorizationStatus(l.Query["status"]), PageOptions: l.page(r),
	})
	if err != nil {
		return err
	}
	l.follow(keep, page.Next)
	items := narrow(l, page.Items, func(x wire.Authorization) string {
		return fmt.Sprint(x.Blueprint, " ", x.Owner, " ", x.Status, " ", x.Reason)
	},
		func(x wire.Authorization) string { return string(x.Owner) })
	l.Items, l.Count, l.MayRelease = items, len(items), v.role().Includes(auth.RoleOperator)
	return c.show(w, r, v, "authorizations", &view{Title: "Authorizations", Tab: "authorizations", Data: l})
}

// tasks shows Asynqmon in a frame, at the path inside it that the URL names.
func (c *Console) tasks(w http.ResponseWriter, r *http.Request, v *visit) error {
	inside := "/"
	if u, err := url.Parse(r.FormValue("path")); err == nil && strings.HasPrefix(u.Path, "/") {
		inside = (&url.URL{Path: "/", RawQuery: u.RawQuery}).JoinPath(u.Path).String() // without a way out by ".."
	}
	return c.show(w, r, v, "tasks", &view{Title: "Tasks", Tab: "tasks", Data: c.cfg.AsynqmonRoot + inside})
}

func words[S ~string](states []S) (out []string) {
	for _, s := range states {
		out = append(out, string(s))
	}
	return out
}
