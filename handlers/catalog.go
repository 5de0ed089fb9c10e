package handlers

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// opened is a stored blueprint together with what it does. err says why it could not be opened; then behaviour is nil.
type opened struct {
	*model.Blueprint
	behaviour blueprints.Blueprint
	err       error
	exhausted exhausted
}

// hooks returns the outside work; a blueprint that could not be opened has an error instead.
func (o *opened) hooks() (*blueprints.Hooks, error) {
	if o.err != nil {
		return nil, o.err
	}
	return o.behaviour.Hooks(), nil
}

// catalog keeps the blueprints of each namespace as of a revision.
type catalog struct {
	store    *store.Store
	registry *blueprints.Registry

	mu         sync.Mutex
	namespaces map[string]catalogEntry
}

type catalogEntry struct {
	rev    int64
	byName map[string]*opened
	byType map[string][]*opened
}

func newCatalog(s *store.Store, r *blueprints.Registry) *catalog {
	return &catalog{store: s, registry: r, namespaces: make(map[string]catalogEntry)}
}

// at returns a namespace's blueprints, at least as new as rev.
func (c *catalog) at(ctx context.Context, ns string, rev int64) (catalogEntry, error) {
	c.mu.Lock()
	entry, ok := c.namespaces[ns]
	c.mu.Unlock()
	if ok && entry.rev >= rev {
		return entry, nil
	}
	list, err := c.store.Blueprints(ctx, ns)
	if err != nil {
		return entry, err
	}
	entry = catalogEntry{rev: rev, byName: make(map[string]*opened), byType: make(map[string][]*opened)}
	for _, bp := range list {
		behaviour, err := c.registry.Open(bp)
		o := &opened{Blueprint: bp, behaviour: behaviour, err: err}
		entry.byName[bp.Name] = o
		entry.byType[bp.Type] = append(entry.byType[bp.Type], o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces[ns] = entry
	return entry, nil
}

// forRequest lists the blueprints that may serve a request, and says of the others of its type why they may not.
func (e catalogEntry) forRequest(req model.Request) (usable []*opened, why []string) {
	for _, o := range e.byType[req.Type] {
		switch {
		case len(req.Blueprints) > 0 && !slices.Contains(req.Blueprints, o.Name):
			continue
		case o.err != nil:
			why = append(why, fmt.Sprintf("%s: %s", o.Name, o.err))
		case !o.Enabled:
			why = append(why, o.Name+": disabled")
		default:
			usable = append(usable, o)
		}
	}
	return usable, why
}
