package blueprints

import (
	"fmt"
	"sync"

	"drydock/model"
)

// Registry knows the kinds and keeps opened blueprints.
type Registry struct {
	kinds map[string]Kind
	names []string

	mu     sync.Mutex
	opened map[openKey]openedBlueprint
}

type openKey struct{ namespace, name string }

type openedBlueprint struct {
	rev int64
	bp  Blueprint
}

// NewRegistry returns a registry of the kinds. It panics when two have one name, which is a mistake in the program.
func NewRegistry(kinds ...Kind) *Registry {
	r := &Registry{kinds: make(map[string]Kind, len(kinds)), opened: make(map[openKey]openedBlueprint)}
	for _, k := range kinds {
		if _, dup := r.kinds[k.Name()]; dup {
			panic(fmt.Sprintf("blueprint kind %q registered twice", k.Name()))
		}
		r.kinds[k.Name()] = k
		r.names = append(r.names, k.Name())
	}
	return r
}

// Check checks all of a blueprint as a caller declares it, Config included. Errors are [model.ErrorInvalid] and name the
// field.
func (r *Registry) Check(bp *model.Blueprint) error {
	if err := bp.Check(); err != nil {
		return err
	}
	_, err := r.parse(bp)
	return err
}

// Open returns the behaviour of a stored blueprint, from memory when this revision was opened before.
func (r *Registry) Open(bp *model.Blueprint) (Blueprint, error) {
	key := openKey{bp.Namespace, bp.Name}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, ok := r.opened[key]; ok && o.rev == bp.Rev {
		return o.bp, nil
	}
	opened, err := r.parse(bp)
	if err != nil {
		return nil, fmt.Errorf("open blueprint %s: %w", bp.Name, err)
	}
	r.opened[key] = openedBlueprint{rev: bp.Rev, bp: opened}
	return opened, nil
}

// CanServe reports whether bp could ever serve the request; if not, reason says why.
func (r *Registry) CanServe(bp *model.Blueprint, req model.Request) (ok bool, reason string) {
	opened, err := r.Open(bp)
	if err != nil {
		return false, err.Error()
	}
	return opened.CanServe(req)
}

func (r *Registry) parse(bp *model.Blueprint) (Blueprint, error) {
	kind, ok := r.kinds[bp.Kind]
	if !ok {
		return nil, model.Invalid("kind", "unknown kind %s; known are %s", model.Quote(bp.Kind), model.Join(r.names))
	}
	return kind.Open(bp)
}
