package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// Kind opens blueprints of working copies.
type Kind struct {
	// Root is the folder for the copies of blueprints that name none, and then the only one that a blueprint may choose a
	// folder below. Empty = each blueprint names its own, anywhere.
	Root string
	// SSHConfig is the configuration file of ssh for copies on leased hosts; empty = that of the worker's user.
	SSHConfig string
	// Protocols are those that repositories may be fetched over, in git's names; default: file, https, ssh.
	Protocols []string
}

// defaultTimeout leaves time for the first clone of a large repository.
const defaultTimeout = 10 * time.Minute

// attributePath is the attribute with which a copy tells where it is.
const attributePath = "path"

type config struct {
	URL        string            `json:"url"`
	Root       string            `json:"root"`
	SSH        *sshConfig        `json:"ssh"`
	Branch     string            `json:"branch"`
	Attributes map[string]string `json:"attributes"`
	Timeout    model.Duration    `json:"timeout"`
}

// Name implements [blueprints.Kind].
func (Kind) Name() string { return "git" }

// Open implements [blueprints.Kind].
func (k Kind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var c config
	if err := blueprints.DecodeConfig(bp.Config, &c); err != nil {
		return nil, err
	}
	protocols := k.Protocols
	if len(protocols) == 0 {
		protocols = []string{"file", "https", "ssh"}
	}
	allowedRoot := k.Root
	if bp.On != nil {
		allowedRoot = "" // it bounds what happens on the worker's machine; on a host, the rights of ssh's user do
	}
	c.Root = cmp.Or(c.Root, allowedRoot)
	if err := c.check(allowedRoot, protocols); err != nil {
		return nil, err
	}
	on, err := c.SSH.open(bp.On != nil, c.Attributes)
	if err != nil {
		return nil, err
	}
	w := &copies{
		namespace:  bp.Namespace,
		blueprint:  bp.Name,
		url:        c.URL,
		branch:     c.Branch,
		protocols:  protocols,
		dir:        filepath.Join(c.Root, bp.Namespace, bp.Name),
		attributes: c.Attributes,
		on:         on,
		sshConfig:  k.SSHConfig,
	}
	for name := range blueprints.Numbered(bp.Name) {
		// The longest path is as long as any other but for the number.
		if len(w.path(name))+len("10000") > model.MaxAttributeLength {
			return nil, model.Invalid("config.root", "is so long that the paths of copies would exceed %d bytes", model.MaxAttributeLength)
		}
		break
	}
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	w.hooks = blueprints.Hooks{
		Timeout:          timeout,
		ActivateResource: w.activate,
		UpdateResource:   w.update,
		DestroyResource:  w.destroy,
		ActivateLease:    w.activateLease,
	}
	if w.on != nil {
		w.hooks.DestroyLease = w.leave
	}
	return w, nil
}

func (c *config) check(allowedRoot string, protocols []string) error {
	if err := checkURL("config.url", c.URL, protocols); err != nil {
		return err
	}
	switch {
	case c.Root == "":
		return model.Invalid("config.root", "is required")
	case !filepath.IsAbs(c.Root) || filepath.Clean(c.Root) == "/" ||
		strings.ContainsFunc(c.Root, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return model.Invalid("config.root", "must be the absolute path of a folder")
	case allowedRoot != "" && !within(allowedRoot, c.Root):
		return model.Invalid("config.root", "must be %s or a folder below it", allowedRoot)
	case c.Branch != "" && !validBranch(c.Branch):
		return model.Invalid("config.branch", "%s is not the name of a branch", model.Quote(c.Branch))
	}
	if err := model.CheckAttributes("config.attributes", c.Attributes); err != nil {
		return err
	}
	for _, name := range []string{attributePath, attributeBranch, attributeCommit, attributeRef} {
		if _, ok := c.Attributes[name]; ok {
			return model.Invalid("config.attributes."+name, "has a meaning of its own for working copies")
		}
	}
	if c.Timeout != 0 {
		return model.CheckTTL("config.timeout", time.Duration(c.Timeout))
	}
	return nil
}

// within reports whether path is base or lies below it.
func within(base, path string) bool {
	rel, err := filepath.Rel(base, filepath.Clean(path))
	return err == nil && filepath.IsLocal(rel)
}

// copies is an opened blueprint; nothing in it changes.
type copies struct {
	namespace  string
	blueprint  string
	url        string
	branch     string // to check out when the lease does not say; empty = the repository's own
	protocols  []string
	dir        string     // holds the copies
	on         *sshConfig // how to reach the hosts that the copies are on; nil = they are on the worker's machine
	sshConfig  string
	attributes map[string]string
	hooks      blueprints.Hooks
}

func (w *copies) path(name string) string { return filepath.Join(w.dir, name) }

// compared returns the attributes that count in matching: all but those that say what to check out.
func compared(req model.Request) map[string]string {
	want := maps.Clone(req.Attributes)
	for _, name := range []string{attributeBranch, attributeCommit, attributeRef} {
		delete(want, name)
	}
	return want
}

// CanServe implements [blueprints.Blueprint].
func (w *copies) CanServe(req model.Request) (ok bool, reason string) {
	if _, reason := targetOf(req.Attributes); reason != "" {
		return false, reason
	}
	return blueprints.MatchReason(compared(req), w.attributes)
}

// Offers implements [blueprints.Blueprint].
func (w *copies) Offers(req model.Request) iter.Seq[blueprints.Offer] {
	return func(yield func(blueprints.Offer) bool) {
		if ok, _ := w.CanServe(req); !ok {
			return
		}
		for name := range blueprints.Numbered(w.blueprint) {
			offer := blueprints.Offer{
				Name: name, Attributes: w.attributesOf(w.path(name)), Capacity: 1,
				Slots: []string{blueprints.NameSlot(w.blueprint, name)},
			}
			if w.on != nil {
				offer.Facts = factsOnHost
			}
			if !yield(offer) {
				return
			}
		}
	}
}

// Fits implements [blueprints.Blueprint].
func (*copies) Fits(res *model.Resource, req model.Request) (ok bool, reason string) {
	if _, reason := targetOf(req.Attributes); reason != "" {
		return false, reason
	}
	return blueprints.MatchReason(compared(req), res.Attributes)
}

// Slots implements [blueprints.Blueprint].
func (*copies) Slots(*model.Resource, model.Request) []string { return nil }

// Hooks implements [blueprints.Blueprint].
func (w *copies) Hooks() *blueprints.Hooks { return &w.hooks }

func (w *copies) activate(ctx context.Context, call blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
	if onHost(res) {
		return w.activateOnHost(ctx, call, res)
	}
	return blueprints.Changes{}, w.prepare(ctx, res, target{})
}

// update gives a copy the attributes that the blueprint declares today. Where it is does not change.
func (w *copies) update(_ context.Context, call blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
	if onHost(res) != (w.on != nil) {
		return blueprints.Changes{}, blueprints.Gone("the blueprint does not keep its copies there any more")
	}
	folder, err := w.folder(res)
	if err != nil {
		return blueprints.Changes{}, err
	}
	changes := blueprints.Changes{Attributes: w.attributesOf(filepath.Join(folder, res.Name))}
	if onHost(res) {
		h, err := w.hostOf(call)
		if err != nil {
			return blueprints.Changes{}, err
		}
		h.describe(changes.Attributes)
	}
	return changes, nil
}

func (w *copies) attributesOf(path string) map[string]string {
	attributes := make(map[string]string, len(w.attributes)+1)
	maps.Copy(attributes, w.attributes)
	attributes[attributePath] = path
	return attributes
}

func (w *copies) activateLease(ctx context.Context, call blueprints.Call, res *model.Resource, lease *model.Lease) error {
	want, reason := targetOf(lease.Attributes)
	if reason != "" {
		return errors.New(reason)
	}
	if onHost(res) {
		return w.onHost(ctx, call, res, stepPrepare, want)
	}
	return w.prepare(ctx, res, want)
}

// prepare makes the copy as if it had just been cloned and the target checked out.
func (w *copies) prepare(ctx context.Context, res *model.Resource, want target) error {
	c, err := w.open(ctx, res)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.create(); err != nil {
		return fmt.Errorf("lay out the copy: %w", err)
	}
	if want == (target{}) {
		want.branch = w.branch
	}
	err = c.update(ctx, want)
	if err == nil || ctx.Err() != nil || !errors.Is(err, errMaybeDamaged) || !c.reachable(ctx) {
		return err
	}
	// The repository can be reached, so what is wrong is the copy itself: begin anew.
	if again := c.remove(gitDir); again != nil {
		return errors.Join(err, again)
	}
	if err := c.create(); err != nil {
		return fmt.Errorf("lay out the copy: %w", err)
	}
	return c.update(ctx, want)
}

func (w *copies) destroy(ctx context.Context, call blueprints.Call, res *model.Resource) error {
	if onHost(res) {
		return w.destroyOnHost(ctx, call, res)
	}
	c, err := w.open(ctx, res)
	if err != nil {
		return err
	}
	defer c.close()
	return removeAll(c.parent, c.name)
}

// folder returns the folder that holds a resource's copy: the one that the resource was made in, which may be another than
// the blueprint says by now. What is stored is checked before it becomes a path that is worked on, and in the end deleted.
func (w *copies) folder(res *model.Resource) (string, error) {
	if err := model.CheckName("name", res.Name); err != nil {
		return "", fmt.Errorf("the resource's name cannot be a folder's: %w", err)
	}
	stored, ok := res.Attributes[attributePath]
	if !ok {
		return filepath.Dir(w.path(res.Name)), nil
	}
	own := filepath.Join("/", w.namespace, w.blueprint, res.Name)
	if !filepath.IsAbs(stored) || filepath.Clean(stored) != stored || !strings.HasSuffix(stored, own) || stored == own {
		return "", fmt.Errorf("the resource's path %s is not one that this blueprint makes", model.Quote(stored))
	}
	return filepath.Dir(stored), nil
}
