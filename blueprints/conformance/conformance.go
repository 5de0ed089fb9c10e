// Package conformance is the test suite that every blueprint kind passes: what package handlers relies on, whatever the
// kind does outside.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/model"
)

// Suite says how to test one kind.
type Suite struct {
	Kind blueprints.Kind
	// New returns a good blueprint and the world around it. It is called for each test.
	New func(t *testing.T) World
	// Bad are configs that Open must refuse.
	Bad []Bad
	// Serves are requests that the blueprint can serve, each with at least one offer; all of the blueprint's type.
	Serves []model.Request
	// Refuses are requests that it can never serve.
	Refuses []model.Request
}

// World is a blueprint and what its hooks work on.
type World struct {
	Blueprint *model.Blueprint
	// Host is what the blueprint's resources stand on; nil when they stand on nothing.
	Host *blueprints.Host
	// State describes the outside world as far as the hooks change it; a repeated hook must not change it again. It is
	// compared by go-cmp. Nil when there is nothing to see.
	State func(t *testing.T) any
}

// Bad is a config that Open must refuse.
type Bad struct {
	Name   string
	Config string
	// Field is the field that the error must name, for example "config.hosts[0].name".
	Field string
}

// BadConfig returns a Bad.
func BadConfig(name, config, field string) Bad { return Bad{Name: name, Config: config, Field: field} }

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	t.Run("OpenRefusesBadConfig", s.openRefusesBadConfig)
	t.Run("OpenIsRepeatable", s.openIsRepeatable)
	t.Run("ServedRequestsGetOffers", s.servedRequestsGetOffers)
	t.Run("RefusedRequestsGetNone", s.refusedRequestsGetNone)
	t.Run("OffersCanBeCutShortAndRepeated", s.offersCanBeCutShortAndRepeated)
	t.Run("PolicyIsSafeForConcurrentUse", s.policyIsSafeForConcurrentUse)
	t.Run("PolicyLeavesItsArgumentsAlone", s.policyLeavesItsArgumentsAlone)
	t.Run("HooksAreIdempotentPerKey", s.hooksAreIdempotentPerKey)
	t.Run("HooksStopWithTheirContext", s.hooksStopWithTheirContext)
	t.Run("HooksOfSeveralObjectsRunAtOnce", s.hooksOfSeveralObjectsRunAtOnce)
}

// offersLooked bounds how many offers the suite looks at: a kind may have very many.
const offersLooked = 100

func (s Suite) open(t *testing.T) (blueprints.Blueprint, World) {
	t.Helper()
	w := s.New(t)
	bp, err := s.Kind.Open(w.Blueprint)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return bp, w
}

func (s Suite) openRefusesBadConfig(t *testing.T) {
	t.Parallel()
	bad := append(slices.Clone(s.Bad),
		Bad{"not an object", `[]`, "config"},
		Bad{"broken JSON", `{`, "config"},
		Bad{"unknown field", `{"no_such_field": 1}`, "config.no_such_field"},
	)
	good := s.New(t).Blueprint
	for _, b := range bad {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			bp := *good
			bp.Config = []byte(b.Config)
			_, err := s.Kind.Open(&bp)
			e, ok := errors.AsType[*model.Error](err)
			if !ok || e.Kind != model.ErrorInvalid || e.Field != b.Field || e.Message == "" {
				t.Errorf("Open(%s) = %v\nwant invalid %s", b.Config, err, b.Field)
			}
		})
	}
}

func (s Suite) openIsRepeatable(t *testing.T) {
	t.Parallel()
	w := s.New(t)
	before := string(w.Blueprint.Config)
	for range 2 {
		bp, err := s.Kind.Open(w.Blueprint)
		if err != nil {
			t.Fatalf("Open = %v", err)
		}
		first, again := bp.Hooks(), bp.Hooks()
		if first == nil || first != again {
			t.Error("Hooks must be the same, and not nil, during the life of the opened blueprint")
		}
	}
	if string(w.Blueprint.Config) != before {
		t.Error("Open changed the blueprint")
	}
}

func (s Suite) servedRequestsGetOffers(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	for _, req := range s.Serves {
		if ok, reason := bp.CanServe(req); !ok || reason != "" {
			t.Errorf("CanServe(%v) = %v, %q, want yes", req.Attributes, ok, reason)
		}
		names, slots := map[string]bool{}, map[string]bool{}
		for offer := range bp.Offers(req) {
			if names[offer.Name] {
				t.Errorf("Offers(%v) has two offers named %s", req.Attributes, offer.Name)
			}
			names[offer.Name] = true
			for _, slot := range offer.Slots {
				if slots[slot] || slot == "" {
					t.Errorf("Offers(%v): offer %s has slot %q, which another has too, or is empty", req.Attributes, offer.Name, slot)
				}
				slots[slot] = true
			}
			checkOffer(t, offer)
			if ok, reason := bp.Fits(resource(w, offer), req); !ok {
				t.Errorf("offer %s for %v, made real, does not fit it: %s", offer.Name, req.Attributes, reason)
			}
			if len(names) == offersLooked {
				break
			}
		}
		if len(names) == 0 {
			t.Errorf("Offers(%v) is empty", req.Attributes)
		}
	}
}

func checkOffer(t *testing.T, offer blueprints.Offer) {
	t.Helper()
	if err := model.CheckName("name", offer.Name); err != nil {
		t.Errorf("offer %q: %v", offer.Name, err)
	}
	if err := model.CheckAttributes("attributes", offer.Attributes); err != nil {
		t.Errorf("offer %s: %v", offer.Name, err)
	}
	if offer.Capacity < 1 {
		t.Errorf("offer %s has capacity %d, want at least 1", offer.Name, offer.Capacity)
	}
}

func (s Suite) refusedRequestsGetNone(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	for _, req := range s.Refuses {
		ok, reason := bp.CanServe(req)
		if ok || reason == "" || strings.HasSuffix(reason, ".") || strings.Contains(reason, "\n") {
			t.Errorf("CanServe(%v) = %v, %q, want no and a short reason", req.Attributes, ok, reason)
		}
		for offer := range bp.Offers(req) {
			t.Errorf("Offers(%v) has %s, although CanServe says no", req.Attributes, offer.Name)
			break
		}
		for _, served := range s.Serves {
			for offer := range bp.Offers(served) {
				if ok, reason := bp.Fits(resource(w, offer), req); ok || reason == "" {
					t.Errorf("Fits(%s, %v) = %v, %q, although CanServe says no", offer.Name, req.Attributes, ok, reason)
				}
				break
			}
		}
	}
}

func (s Suite) offersCanBeCutShortAndRepeated(t *testing.T) {
	t.Parallel()
	bp, _ := s.open(t)
	for _, req := range s.Serves {
		offers := bp.Offers(req)
		var first, again []blueprints.Offer
		for offer := range offers {
			first = append(first, offer)
			break
		}
		for offer := range offers {
			again = append(again, offer)
			if len(again) == offersLooked {
				break
			}
		}
		if diff := cmp.Diff(first, again[:min(1, len(again))]); diff != "" {
			t.Errorf("Offers(%v) begins differently the second time (-first +again):\n%s", req.Attributes, diff)
		}
	}
}

func (s Suite) policyIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, req := range append(slices.Clone(s.Serves), s.Refuses...) {
				bp.CanServe(req)
				for offer := range bp.Offers(req) {
					res := resource(w, offer)
					bp.Fits(res, req)
					bp.Slots(res, req)
					break
				}
				bp.Hooks()
			}
		})
	}
	wg.Wait()
}

func (s Suite) policyLeavesItsArgumentsAlone(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	for _, req := range s.Serves {
		for offer := range bp.Offers(req) {
			res := resource(w, offer)
			resBefore, reqBefore := *res, req
			resBefore.Attributes, reqBefore.Attributes = maps.Clone(res.Attributes), maps.Clone(req.Attributes)
			bp.Fits(res, req)
			bp.Slots(res, req)
			bp.CanServe(req)
			if diff := cmp.Diff(resBefore, *res); diff != "" {
				t.Errorf("the resource has changed:\n%s", diff)
			}
			if diff := cmp.Diff(reqBefore, req); diff != "" {
				t.Errorf("the request has changed:\n%s", diff)
			}
			break
		}
	}
}

func (s Suite) hooksAreIdempotentPerKey(t *testing.T) {
	t.Parallel()
	for i, req := range s.Serves {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			bp, w := s.open(t)
			for offer := range bp.Offers(req) {
				life(t, bp, w, req, offer, func(step string, run func(fence int64, attempt int) (any, error)) any {
					first, err := run(1, 1)
					if err != nil {
						t.Fatalf("%s = %v", step, err)
					}
					var before any
					if w.State != nil {
						before = w.State(t)
					}
					// A second worker finds the step begun and not recorded as done.
					again, err := run(2, 2)
					if err != nil {
						t.Fatalf("%s, a second time = %v", step, err)
					}
					if diff := cmp.Diff(first, again); diff != "" {
						t.Errorf("%s answers differently the second time (-first +again):\n%s", step, diff)
					}
					if w.State != nil {
						if diff := cmp.Diff(before, w.State(t)); diff != "" {
							t.Errorf("%s, a second time, changed the world:\n%s", step, diff)
						}
					}
					return again
				})
				break
			}
		})
	}
}

func (s Suite) hooksStopWithTheirContext(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	req := s.Serves[0]
	for offer := range bp.Offers(req) {
		life(t, bp, w, req, offer, func(step string, run func(fence int64, attempt int) (any, error)) any {
			out, err := run(1, 1)
			if err != nil {
				t.Fatalf("%s = %v", step, err)
			}
			return out
		}, func(step string, run func(ctx context.Context) error) {
			ctx, cancel := context.WithCancelCause(t.Context())
			lost := errors.New("the object lock is lost")
			cancel(lost)
			if err := run(ctx); err != nil {
				if _, yield := blueprints.AsYield(err); yield {
					t.Errorf("%s yields when its context has ended: %v", step, err)
				}
			}
		})
		break
	}
}

func (s Suite) hooksOfSeveralObjectsRunAtOnce(t *testing.T) {
	t.Parallel()
	bp, w := s.open(t)
	req := s.Serves[0]
	var offers []blueprints.Offer
	for offer := range bp.Offers(req) {
		if offers = append(offers, offer); len(offers) == 3 {
			break
		}
	}
	var wg sync.WaitGroup
	for _, offer := range offers {
		wg.Go(func() {
			life(t, bp, w, req, offer, func(step string, run func(fence int64, attempt int) (any, error)) any {
				out, err := run(1, 1)
				if err != nil {
					t.Errorf("%s of %s = %v", step, offer.Name, err)
				}
				return out
			})
		})
	}
	wg.Wait()
}

// doStep runs one hook, as often as it likes, and returns what the last run returned.
type doStep func(step string, run func(fence int64, attempt int) (any, error)) any

// life makes the offer real and drives it, with one lease on it, through every hook that there is, in the order in which
// package handlers would. Each hook is first given to the probes, with a context of their choice, then to do.
func life(t *testing.T, bp blueprints.Blueprint, w World, req model.Request, offer blueprints.Offer, do doStep,
	probes ...func(step string, run func(ctx context.Context) error),
) {
	t.Helper()
	hooks := bp.Hooks()
	lease := &model.Lease{
		Ref: model.LeaseRef(w.Blueprint.Namespace, model.NewID()), Type: w.Blueprint.Type, Status: model.LeasePending,
		Blueprint: w.Blueprint.Name, Owner: "conformance", Attributes: req.Attributes,
	}
	req.Lease, req.Type, req.Owner = lease.ID, lease.Type, lease.Owner
	claims := int64(0) // each has a higher fence than those before it
	step := func(name string, object model.Ref, hook func(ctx context.Context, call blueprints.Call) (any, error)) any {
		key := object.ID + "." + name
		claims += 10
		for _, probe := range probes {
			probe(name, func(ctx context.Context) error {
				_, err := hook(ctx, blueprints.Call{Object: object, Fence: claims, Key: key + ".probe", Attempt: 1, Host: w.Host})
				return err
			})
		}
		return do(name, func(fence int64, attempt int) (any, error) {
			return hook(t.Context(), blueprints.Call{Object: object, Fence: claims + fence, Key: key, Attempt: attempt, Host: w.Host})
		})
	}

	if hooks.Allocate != nil {
		out := step("allocate", lease.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
			return hooks.Allocate(ctx, call, req, offer)
		})
		offer, _ = out.(blueprints.Offer)
		checkOffer(t, offer)
	}
	res := resource(w, offer)
	res.Status = model.ResourcePending
	change := func(out any) {
		c, _ := out.(blueprints.Changes)
		if c.Attributes != nil {
			res.Attributes = c.Attributes
		}
		if c.Capacity != 0 {
			res.Capacity = c.Capacity
		}
		if c.Facts != "" {
			res.Work.Facts = c.Facts
		}
	}
	if hooks.ActivateResource != nil {
		change(step("activate", res.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
			return hooks.ActivateResource(ctx, call, res)
		}))
	}
	res.Status = model.ResourceActive
	if ok, reason := bp.Fits(res, req); !ok {
		t.Errorf("%s, activated, does not fit the request it was made for: %s", offer.Name, reason)
	}
	if hooks.AcquireLease != nil {
		step("acquire", lease.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
			return hooks.AcquireLease(ctx, call, res, lease)
		})
	}
	lease.Status, lease.Resource = model.LeaseAcquired, res.ID
	onLease := func(name string, hook func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error) {
		if hook != nil {
			step(name, lease.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
				return nil, hook(ctx, call, res, lease)
			})
		}
	}
	onLease("activate_lease", hooks.ActivateLease)
	lease.Status = model.LeaseActive
	if hooks.UpdateResource != nil {
		change(step("update", res.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
			return hooks.UpdateResource(ctx, call, res)
		}))
		if ok, reason := bp.Fits(res, req); !ok {
			t.Errorf("%s, updated, does not fit the request it was made for: %s", offer.Name, reason)
		}
	}
	lease.Status = model.LeaseReleased
	onLease("release_lease", hooks.ReleaseLease)
	onLease("destroy_lease", hooks.DestroyLease)
	lease.Status, res.Status = model.LeaseDestroyed, model.ResourceReleased
	if hooks.DestroyResource != nil {
		step("destroy", res.Ref, func(ctx context.Context, call blueprints.Call) (any, error) {
			return nil, hooks.DestroyResource(ctx, call, res)
		})
	}
}

// resource is the offer made real.
func resource(w World, offer blueprints.Offer) *model.Resource {
	return &model.Resource{
		Ref:  model.ResourceRef(w.Blueprint.Namespace, model.NewID()),
		Name: offer.Name, Type: w.Blueprint.Type, Status: model.ResourceActive, Blueprint: w.Blueprint.Name,
		Attributes: offer.Attributes, Capacity: offer.Capacity, Until: offer.Until, Fence: 1,
		Work: model.ResourceWork{Facts: offer.Facts},
	}
}
