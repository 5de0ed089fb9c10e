package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// Resources is the part of a config that describes the resources.
type Resources struct {
	// Attributes are what the resources have. Where a list stands in place of a value, the request chooses, and the first
	// is the choice when it does not say.
	Attributes map[string]Choices `json:"attributes"`
	// Parameters names attributes of leases that are for the program and are not compared with the resource's.
	Parameters []string `json:"parameters"`
	// Capacity is how many leases a resource takes at once; default 1.
	Capacity *int `json:"capacity"`
}

// Choices are the values that an attribute may have.
type Choices []string

// UnmarshalJSON reads a string or a list of strings.
func (c *Choices) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil && strings.HasPrefix(string(raw), `"`) {
		*c = Choices{one}
		return nil
	}
	var many []*string // null would read as the empty text
	if json.Unmarshal(raw, &many) == nil && len(many) > 0 && !slices.Contains(many, nil) {
		*c = make(Choices, len(many))
		for i, value := range many {
			(*c)[i] = *value
		}
		return nil
	}
	return model.Invalid("", "must be a string, in quotes, or a list of strings to choose from")
}

// maxChoices bounds the values of one attribute.
const maxChoices = 64

// Check checks the description; errors are [model.ErrorInvalid] and name the field.
func (r *Resources) Check() error {
	first := make(map[string]string, len(r.Attributes))
	for name, values := range r.Attributes {
		first[name] = values[0]
	}
	if err := model.CheckAttributes("config.attributes", first); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		values := r.Attributes[name]
		if len(values) > maxChoices {
			return model.Invalid("config.attributes."+name, "must have at most %d values to choose from", maxChoices)
		}
		for _, value := range values {
			if err := model.CheckAttributes("config.attributes", map[string]string{name: value}); err != nil {
				return err
			}
		}
	}
	for i, name := range r.Parameters {
		field := fmt.Sprintf("config.parameters[%d]", i)
		if err := model.CheckAttributes(field, map[string]string{name: ""}); err != nil {
			return err
		}
		if _, both := r.Attributes[name]; both {
			return model.Invalid(field, "%s is one of the attributes too", model.Quote(name))
		}
	}
	if r.Capacity != nil && (*r.Capacity < 1 || *r.Capacity > MaxCapacity) {
		return model.Invalid("config.capacity", "must be between 1 and %d", MaxCapacity)
	}
	return nil
}

// Caller brings a message to the program and returns its answer, empty if it gave none. An error that is a
// [blueprints.YieldError] puts the step off.
type Caller interface {
	Call(ctx context.Context, m *Message, body []byte) (answer []byte, err error)
}

// New returns the blueprint whose program does the steps, each within the timeout, 0 = [blueprints.DefaultTimeout]. The
// resources have been checked.
func New(bp *model.Blueprint, r Resources, steps []Step, timeout time.Duration, caller Caller) blueprints.Blueprint {
	b := &opened{blueprint: bp.Name, typ: bp.Type, resources: r, capacity: 1, caller: caller}
	if r.Capacity != nil {
		b.capacity = *r.Capacity
	}
	b.hooks.Timeout = timeout
	for _, step := range steps {
		b.add(step)
	}
	return b
}

// opened is an opened blueprint; nothing in it changes.
type opened struct {
	blueprint, typ string
	resources      Resources
	capacity       int
	caller         Caller
	hooks          blueprints.Hooks
}

func (b *opened) add(step Step) {
	switch step {
	case StepAllocate:
		b.hooks.Allocate = b.allocate
	case StepActivate:
		b.hooks.ActivateResource = b.change(step)
	case StepUpdate:
		b.hooks.UpdateResource = b.change(step)
	case StepDestroy:
		b.hooks.DestroyResource = b.destroy
	case StepAcquire:
		b.hooks.AcquireLease = b.acquire
	case StepActivateLease:
		b.hooks.ActivateLease = b.onLease(step)
	case StepReleaseLease:
		b.hooks.ReleaseLease = b.onLease(step)
	case StepDestroyLease:
		b.hooks.DestroyLease = b.onLease(step)
	}
}

// compared returns the attributes of a request that count in matching.
func (b *opened) compared(req model.Request) map[string]string {
	if len(b.resources.Parameters) == 0 {
		return req.Attributes
	}
	want := maps.Clone(req.Attributes)
	for _, name := range b.resources.Parameters {
		delete(want, name)
	}
	return want
}

// CanServe implements [blueprints.Blueprint].
func (b *opened) CanServe(req model.Request) (ok bool, reason string) {
	want := b.compared(req)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		values, has := b.resources.Attributes[name]
		switch {
		case !has:
			return false, "its resources have no attribute " + name
		case !slices.Contains(values, want[name]):
			return false, fmt.Sprintf("its %s is %s, not %s", name, choice(values), model.Quote(want[name]))
		}
	}
	return true, ""
}

func choice(values []string) string {
	const shown = 8
	quoted := make([]string, 0, shown)
	for i, v := range values {
		if i == shown {
			quoted = append(quoted, "…")
			break
		}
		quoted = append(quoted, model.Quote(v))
	}
	return strings.Join(quoted, " or ")
}

// Offers implements [blueprints.Blueprint].
func (b *opened) Offers(req model.Request) iter.Seq[blueprints.Offer] {
	return func(yield func(blueprints.Offer) bool) {
		if ok, _ := b.CanServe(req); !ok {
			return
		}
		attributes := make(map[string]string, len(b.resources.Attributes))
		for name, values := range b.resources.Attributes {
			attributes[name] = values[0]
			if asked, ok := req.Attributes[name]; ok {
				attributes[name] = asked
			}
		}
		for name := range blueprints.Numbered(b.blueprint) {
			offer := blueprints.Offer{
				Name: name, Attributes: attributes, Capacity: b.capacity,
				Slots: []string{blueprints.NameSlot(b.blueprint, name)},
			}
			if !yield(offer) {
				return
			}
		}
	}
}

// Fits implements [blueprints.Blueprint].
func (b *opened) Fits(res *model.Resource, req model.Request) (ok bool, reason string) {
	return blueprints.MatchReason(b.compared(req), res.Attributes)
}

// Slots implements [blueprints.Blueprint]: those of a lease come from the program, in [StepAcquire].
func (*opened) Slots(*model.Resource, model.Request) []string { return nil }

// Hooks implements [blueprints.Blueprint].
func (b *opened) Hooks() *blueprints.Hooks { return &b.hooks }

// exchange sends the message of a step and reads the answer.
func (b *opened) exchange(ctx context.Context, step Step, call blueprints.Call, res *Resource, lease *Lease) (Answer, error) {
	m := &Message{
		Step:   step,
		Object: Object{Namespace: call.Object.Namespace, Kind: call.Object.Kind, ID: call.Object.ID},
		Fence:  call.Fence, IdempotencyKey: call.Key, Attempt: call.Attempt, Blueprint: b.blueprint,
		Resource: res, Lease: lease,
	}
	body, err := json.Marshal(m)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", step, err)
	}
	raw, err := b.caller.Call(ctx, m, body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", step, err)
	}
	answer, err := parseAnswer(step, raw)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", step, err)
	}
	return answer, nil
}

func (b *opened) allocate(
	ctx context.Context, call blueprints.Call, req model.Request, offer blueprints.Offer,
) (blueprints.Offer, error) {
	res := &Resource{
		Name: offer.Name, Type: b.typ, Attributes: notNil(offer.Attributes), Capacity: offer.Capacity, Leases: []string{},
		Until: instant(offer.Until), Facts: offer.Facts,
	}
	lease := &Lease{ID: req.Lease, Type: req.Type, Owner: req.Owner, Attributes: notNil(req.Attributes)}
	if req.Lease == "" {
		lease = nil // a spare, made for nobody yet
	}
	a, err := b.exchange(ctx, StepAllocate, call, res, lease)
	if err != nil {
		return offer, err
	}
	if offer.Attributes, err = merge(offer.Attributes, a.Attributes); err != nil {
		return offer, fmt.Errorf("%s: %w", StepAllocate, err)
	}
	if ok, reason := blueprints.MatchReason(b.compared(req), offer.Attributes); !ok {
		return offer, fmt.Errorf("%s: the program made a resource that the lease cannot use: %s", StepAllocate, reason)
	}
	if a.Capacity != nil {
		offer.Capacity = *a.Capacity
	}
	if a.Facts != nil {
		offer.Facts = *a.Facts
	}
	if a.Until != nil {
		offer.Until = *a.Until
	}
	offer.Slots = append(slices.Clone(offer.Slots), a.Slots...)
	return offer, nil
}

func (b *opened) change(step Step) func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
	return func(ctx context.Context, call blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
		var c blueprints.Changes
		a, err := b.exchange(ctx, step, call, ofResource(res), nil)
		if err != nil {
			return c, err
		}
		if a.Attributes != nil {
			if c.Attributes, err = merge(res.Attributes, a.Attributes); err != nil {
				return blueprints.Changes{}, fmt.Errorf("%s: %w", step, err)
			}
		}
		if a.Capacity != nil {
			c.Capacity = *a.Capacity
		}
		if a.Facts != nil {
			c.Facts = *a.Facts
		}
		if a.Until != nil {
			c.Until = *a.Until
		}
		return c, nil
	}
}

func (b *opened) destroy(ctx context.Context, call blueprints.Call, res *model.Resource) error {
	_, err := b.exchange(ctx, StepDestroy, call, ofResource(res), nil)
	return err
}

func (b *opened) acquire(ctx context.Context, call blueprints.Call, res *model.Resource, lease *model.Lease) ([]string, error) {
	a, err := b.exchange(ctx, StepAcquire, call, ofResource(res), ofLease(lease))
	return a.Slots, err
}

func (b *opened) onLease(step Step) func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
	return func(ctx context.Context, call blueprints.Call, res *model.Resource, lease *model.Lease) error {
		_, err := b.exchange(ctx, step, call, ofResource(res), ofLease(lease))
		return err
	}
}

func ofResource(res *model.Resource) *Resource {
	if res == nil {
		return nil
	}
	leases := res.Leases
	if leases == nil {
		leases = []string{}
	}
	return &Resource{
		ID: &res.ID, Name: res.Name, Type: res.Type, Attributes: notNil(res.Attributes), Capacity: res.Capacity,
		Leases: leases, Until: instant(res.Until), Facts: res.Work.Facts,
	}
}

func ofLease(lease *model.Lease) *Lease {
	return &Lease{
		ID: lease.ID, Type: lease.Type, Owner: lease.Owner, Attributes: notNil(lease.Attributes), Until: instant(lease.Until),
	}
}

// merge returns the attributes with the program's on top; the result is never nil.
func merge(attributes map[string]string, answered map[string]*string) (map[string]string, error) {
	merged := notNil(maps.Clone(attributes))
	for name, value := range answered {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = *value
		}
	}
	return merged, model.CheckAttributes("answer.attributes", merged)
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
