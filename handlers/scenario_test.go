package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/blueprints"
	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/store"
	"drydock/tasks"
)

// The scenarios of the races that broke other systems, each a test with a name that says it.

func TestLeaseLifeOnAPool(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{Owner: "alice"})
	h.drain()
	l := h.wantLease(id, model.LeaseActive)
	if l.Resource == "" || l.Blueprint != "lab" || l.Fence == 0 || l.AcquiredAt.IsZero() || l.ActivatedAt.IsZero() || l.Waiting != nil {
		t.Errorf("active lease is incomplete: %+v", l)
	}
	h.verify()
	h.releaseLease(id)
	if !h.readLease(id).Releasing {
		t.Error("releasing is not shown while the release waits")
	}
	h.drain()
	l = h.wantLease(id, model.LeaseDestroyed)
	if l.Releasing || l.ReleasedAt.IsZero() || l.DestroyedAt.IsZero() {
		t.Errorf("destroyed lease is incomplete: %+v", l)
	}
	h.verify()
}

func TestTenReleasesAtOnceRunTheReleaseCodeOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var calls []string
	h.kind.hooks.ReleaseLease = func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
		calls = append(calls, call.Key)
		return nil
	}
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{TTL: time.Minute})
	h.drain()
	h.wantLease(id, model.LeaseActive)
	h.clock.advance(2 * time.Minute)
	for range 9 {
		h.releaseLease(id)
	}
	h.sweep(0)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	got := h.outcomes(model.LeaseRef(h.ns, id))
	if got[model.OutcomeApplied] != 1 || got[model.OutcomeSuperseded] != 9 || len(got) != 2 {
		t.Errorf("outcomes = %v, want one applied and nine superseded (nine sent, one by expiry)", got)
	}
	if len(calls) != 1 {
		t.Errorf("the release hook ran %d times: %v", len(calls), calls)
	}
	for _, c := range h.commands(model.LeaseRef(h.ns, id)) {
		if c.Author == "" || c.Origin.Via == "" || c.SentAt.IsZero() || c.ConsumedAt.IsZero() || c.Worker == "" || c.Fence == 0 {
			t.Errorf("command is incomplete: %+v", c)
		}
	}
	h.verify()
}

func TestReleaseOfAPendingLeaseDestroysItWithoutActivation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	first := h.lease(model.NewLease{})
	h.drain()
	second := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(second, model.LeasePending)
	h.releaseLease(second)
	h.drain()
	l := h.wantLease(second, model.LeaseDestroyed)
	if !l.AcquiredAt.IsZero() || !l.ActivatedAt.IsZero() {
		t.Errorf("a lease released while pending was acquired: %+v", l)
	}
	h.wantLease(first, model.LeaseActive)
	h.verify()
}

func TestReleaseOfAnAcquiredLeaseFreesItsSlots(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ready := false
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		if !ready {
			return blueprints.Yield(time.Minute, "booting")
		}
		return nil
	}
	h.put("s", "scripted", "host", 1, scriptedConfig{Slots: []string{"port:1"}})
	id := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(id, model.LeaseAcquired)
	if slots, err := h.store.Slots(h.ctx, model.LeaseRef(h.ns, id)); err != nil || len(slots) != 1 || slots[0].Key != "port:1" {
		t.Fatalf("Slots() = %v, %v, want port:1", slots, err)
	}
	h.verify()
	h.releaseLease(id)
	h.drain()
	if l := h.wantLease(id, model.LeaseDestroyed); !l.ActivatedAt.IsZero() {
		t.Error("the lease was activated")
	}
	ready = true
	next := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(next, model.LeaseActive)
	h.verify()
}

func TestCommandSentDuringDestructionIsSuperseded(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var id string
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	// The lease is broken and in its destroy hook: it still takes commands.
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		return errors.New("no")
	}
	sent := 0
	h.kind.hooks.DestroyLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		for range 3 {
			h.releaseLease(id)
			sent++
		}
		return nil
	}
	id = h.lease(model.NewLease{})
	h.drain()
	l := h.wantLease(id, model.LeaseDestroyed)
	if l.Releasing {
		t.Error("a destroyed lease reads releasing")
	}
	if got := h.outcomes(l.Ref); got[model.OutcomeSuperseded] != sent || got[""] != 0 {
		t.Errorf("outcomes = %v, want %d superseded", got, sent)
	}
	h.verify()
}

func TestDestroyHookFailsTwiceThenWorks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var attempts []int
	h.kind.hooks.DestroyLease = func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
		attempts = append(attempts, call.Attempt)
		if len(attempts) <= 2 {
			return errors.New("disk is busy")
		}
		return nil
	}
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	h.drain()
	h.releaseLease(id)
	h.drain()
	h.wantLease(id, model.LeaseReleased)
	h.verify()
	for range 2 {
		h.sweep(time.Minute)
		h.drain()
	}
	l := h.wantLease(id, model.LeaseDestroyed)
	if !slices.Equal(attempts, []int{1, 2, 3}) {
		t.Errorf("attempts = %v, want 1, 2, 3", attempts)
	}
	if got := h.outcomes(l.Ref); got[model.OutcomeApplied] != 1 || len(got) != 1 {
		t.Errorf("outcomes = %v, want one applied", got)
	}
	if text := h.logText(l.Ref); !strings.Contains(text, "hook-failed: disk is busy") {
		t.Errorf("the failure is not in the log:\n%s", text)
	}
	h.verify()
}

// TestReleaseHookDoesNotRunForALeaseThatBroke: it is released all the same while its clean-up is under way.
func TestReleaseHookDoesNotRunForALeaseThatBroke(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var steps []string
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { return errors.New("no") }
	h.kind.hooks.ReleaseLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		steps = append(steps, "release")
		return nil
	}
	h.kind.hooks.DestroyLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		if steps = append(steps, "destroy"); len(steps) == 1 {
			return errors.New("disk is busy")
		}
		return nil
	}
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(id, model.LeaseBroken)
	h.releaseLease(id)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	if !slices.Equal(steps, []string{"destroy", "destroy"}) {
		t.Errorf("hooks %q, want destroy twice: once in vain", steps)
	}
	h.verify()
}

func TestResourceReleasesWhileALeaseIsBeingAcquired(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	released := false
	h.kind.hooks.AcquireLease = func(_ context.Context, _ blueprints.Call, res *model.Resource, _ *model.Lease) ([]string, error) {
		if !released {
			released = true
			h.releaseResource(res.ID)
		}
		return nil, nil
	}
	id := h.lease(model.NewLease{})
	h.drain()
	l := h.wantLease(id, model.LeaseActive)
	if r := h.readResource(l.Resource); r.Status != model.ResourceActive {
		t.Errorf("the lease is active on a resource that is %s", r.Status)
	}
	if n := len(h.resources(model.ResourceDestroyed)); n != 1 {
		t.Errorf("%d resources destroyed, want the first", n)
	}
	h.verify()
}

func TestResourceReleasesWhileALeaseIsBeingActivated(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	h.kind.hooks.ActivateLease = func(_ context.Context, _ blueprints.Call, res *model.Resource, _ *model.Lease) error {
		h.releaseResource(res.ID)
		return nil
	}
	id := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	if n := len(h.resources(model.ResourceDestroyed)); n != 1 {
		t.Errorf("%d resources destroyed, want one", n)
	}
	h.verify()
}

func TestBrokenResourceTellsItsLeases(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{Capacity: 3})
	boots := 0
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		if boots++; boots == 1 {
			return blueprints.Changes{}, errors.New("no power")
		}
		return blueprints.Changes{}, nil
	}
	id := h.lease(model.NewLease{})
	h.drain()
	// The first resource broke; the lease did not, and got another.
	l := h.wantLease(id, model.LeaseActive)
	if boots != 2 {
		t.Errorf("%d resources were activated, want two", boots)
	}
	if page, err := h.store.Log(h.ctx, l.Ref, 100, ""); err != nil || len(page.Items) < 4 {
		t.Errorf("Log() = %v, %v", page, err)
	}
	h.verify()
}

func TestResourceIsDestroyedOnlyAfterItsLeases(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{Capacity: 2})
	var order []string
	h.kind.hooks.DestroyLease = func(_ context.Context, _ blueprints.Call, res *model.Resource, l *model.Lease) error {
		order = append(order, "lease")
		if len(order) == 1 {
			return errors.New("not yet")
		}
		return nil
	}
	h.kind.hooks.DestroyResource = func(context.Context, blueprints.Call, *model.Resource) error {
		order = append(order, "resource")
		return nil
	}
	a := h.lease(model.NewLease{})
	h.drain()
	res := h.wantLease(a, model.LeaseActive).Resource
	h.releaseResource(res)
	h.drain()
	h.wantResource(res, model.ResourceReleased)
	h.sweep(time.Minute)
	h.drain()
	h.wantResource(res, model.ResourceDestroyed)
	h.wantLease(a, model.LeaseDestroyed)
	if want := []string{"lease", "lease", "resource"}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
	h.verify()
}

func TestResourceIsDestroyedAfterTheGraceAllTheSame(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	h.kind.hooks.DestroyLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		return errors.New("never")
	}
	id := h.lease(model.NewLease{})
	h.drain()
	res := h.wantLease(id, model.LeaseActive).Resource
	h.releaseResource(res)
	h.drain()
	h.wantResource(res, model.ResourceReleased)
	h.sweep(11 * time.Minute)
	h.drain()
	h.wantResource(res, model.ResourceDestroyed)
	if text := h.logText(model.ResourceRef(h.ns, res)); !strings.Contains(text, "grace-elapsed") {
		t.Errorf("the log does not say so:\n%s", text)
	}
	h.verify()
}

// TestLeaseEndsAfterItsBlueprintIsRemoved: a lease cannot be cleaned up, so its resource goes without it, and then its blueprint does.
func TestLeaseEndsAfterItsBlueprintIsRemoved(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.kind.hooks.ReleaseLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { return errors.New("no") }
	h.declareScripted("s", func(*model.Blueprint) {})
	id := h.lease(model.NewLease{})
	h.drain()
	res := h.wantLease(id, model.LeaseActive).Resource
	h.releaseResource(res)
	h.drain()
	h.sweep(DefaultDestroyGrace)
	h.drain()
	h.wantResource(res, model.ResourceDestroyed)
	h.wantLease(id, model.LeaseReleased)
	if _, err := h.store.DeleteBlueprint(h.ctx, h.ns, "s"); err != nil {
		t.Fatal(err)
	}
	h.sweep(pollMost)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	h.verify()
}

func TestReclaimOfALeasedResourceIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{})
	h.drain()
	res := h.wantLease(id, model.LeaseActive).Resource
	h.send(model.ResourceRef(h.ns, res), model.CommandReclaim, "")
	h.drain()
	h.wantResource(res, model.ResourceActive)
	c := h.commands(model.ResourceRef(h.ns, res))[0]
	if c.Outcome != model.OutcomeRefused || !strings.Contains(c.Detail, "lease") {
		t.Errorf("reclaim = %q %q, want refused with a reason", c.Outcome, c.Detail)
	}
	h.releaseLease(id)
	h.drain()
	h.send(model.ResourceRef(h.ns, res), model.CommandReclaim, "")
	h.drain()
	if c := h.commands(model.ResourceRef(h.ns, res))[1]; c.Outcome != model.OutcomeRefused || !strings.Contains(c.Detail, "moment ago") {
		t.Errorf("reclaim = %q %q, want refused because it was just freed", c.Outcome, c.Detail)
	}
	h.clock.advance(4 * time.Minute)
	h.send(model.ResourceRef(h.ns, res), model.CommandReclaim, "")
	h.drain()
	h.wantResource(res, model.ResourceDestroyed)
	h.verify()
}

func TestOneAllocationPendingPerLease(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return blueprints.Changes{}, blueprints.Yield(time.Minute, "booting")
	}
	id := h.lease(model.NewLease{})
	h.drain()
	for range 5 {
		_ = h.Enqueue(h.ctx, model.LeaseRef(h.ns, id))
		h.drain()
	}
	if n := len(h.resources(model.ResourcePending)); n != 1 {
		t.Errorf("%d resources are being made for one lease", n)
	}
	h.verify()
}

func TestLateReleaseByAFormerHolderLeavesTheNextHolderAlone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	former := h.lease(model.NewLease{Owner: "alice"})
	h.drain()
	h.releaseLease(former)
	h.drain()
	next := h.lease(model.NewLease{Owner: "bob"})
	h.drain()
	before := h.wantLease(next, model.LeaseActive)
	if sent := h.releaseLease(former); sent.Command != nil {
		t.Errorf("a release of a destroyed lease made the command %+v", sent.Command)
	}
	h.drain()
	if after := h.wantLease(next, model.LeaseActive); after.Resource != before.Resource || after.Fence != before.Fence {
		t.Errorf("the next holder's lease was touched: %+v, was %+v", after, before)
	}
	h.verify()
}

func TestMisplacedCommandsAreRefusedAtTheDoor(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{})
	h.drain()
	h.releaseLease(id)
	h.drain()
	if _, err := h.trySend(model.LeaseRef(h.ns, id), model.CommandExtend, `{"ttl":"1m"}`); model.KindOf(err) != model.ErrorConflict {
		t.Errorf("extend of a destroyed lease: %v, want conflict", err)
	}
	if err := model.CheckCommand(model.KindLease, model.CommandReclaim, nil, ""); model.KindOf(err) != model.ErrorInvalid {
		t.Errorf("reclaim to a lease: %v, want invalid", err)
	}
}

func TestFiveLeasesLimitTwo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(2, 5, 1)
	ids := make([]string, 5)
	for i := range ids {
		ids[i] = h.lease(model.NewLease{})
	}
	h.drain()
	if n := len(h.resources(model.ResourceActive)); n != 2 {
		t.Fatalf("%d resources, want 2", n)
	}
	for i, id := range ids {
		if i < 2 {
			h.wantLease(id, model.LeaseActive)
			continue
		}
		l := h.wantLease(id, model.LeasePending)
		if l.Waiting == nil || l.Waiting.Position != int64(i-1) || l.Waiting.Reason == "" {
			t.Errorf("lease %d waits as %+v, want position %d and a reason", i+1, l.Waiting, i-1)
		}
	}
	h.verify()
	// They are served in order, each woken by the release alone.
	for i := range 3 {
		h.releaseLease(ids[i])
		h.drain()
		h.wantLease(ids[i+2], model.LeaseActive)
		for _, later := range ids[min(i+3, 5):] {
			h.wantLease(later, model.LeasePending)
		}
		h.verify()
	}
}

func TestAllocationFailureLeavesTheLeaseWaiting(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	var keys []string
	h.kind.hooks.Allocate = func(_ context.Context, call blueprints.Call, _ model.Request, offer blueprints.Offer) (blueprints.Offer, error) {
		keys = append(keys, call.Key)
		if len(keys) == 1 {
			return offer, errors.New("quota exceeded")
		}
		return offer, nil
	}
	id := h.lease(model.NewLease{})
	h.drain()
	l := h.wantLease(id, model.LeasePending)
	if !strings.Contains(l.Waiting.Reason, "quota exceeded") || !strings.Contains(h.logText(l.Ref), "quota exceeded") {
		t.Errorf("waiting = %+v, want the error in it and in the log:\n%s", l.Waiting, h.logText(l.Ref))
	}
	h.verify()
	h.sweep(time.Minute)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	if len(keys) != 2 || keys[0] != keys[1] {
		t.Errorf("idempotency keys = %v, want the same one twice", keys)
	}
	h.verify()
}

func TestDisabledHostAndBlueprintTakeNoNewLeases(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 2)
	first := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(first, model.LeaseActive)

	config := poolConfig(1, 2)
	config["hosts"].([]hostConfig)[0].Disabled = true
	h.put("lab", "pool", "host", 0, config)
	second := h.lease(model.NewLease{})
	h.drain()
	l := h.wantLease(second, model.LeasePending)
	if !strings.Contains(l.Waiting.Reason, "disabled") {
		t.Errorf("reason = %q, want one that says disabled", l.Waiting.Reason)
	}
	h.wantLease(first, model.LeaseActive)

	h.pool(0, 1, 2)
	h.drain()
	h.wantLease(second, model.LeaseActive)

	bp, err := h.store.Blueprint(h.ctx, h.ns, "lab")
	if err != nil {
		t.Fatal(err)
	}
	bp.Enabled = false
	h.putBlueprint(bp)
	h.releaseLease(first)
	third := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(third, model.LeasePending)
	h.wantLease(second, model.LeaseActive)
	bp.Enabled = true
	h.putBlueprint(bp)
	h.drain()
	h.wantLease(third, model.LeaseActive)
	h.verify()
}

func TestBothHostsAreUsedBeforeOneTakesTwo(t *testing.T) {
	t.Parallel()
	for round := range 2 {
		h := newHarness(t)
		h.pool(0, 2, 2)
		if round == 1 {
			// The hosts are there already.
			a, b := h.lease(model.NewLease{}), h.lease(model.NewLease{})
			h.drain()
			h.releaseLease(a)
			h.releaseLease(b)
			h.drain()
		}
		a, b := h.lease(model.NewLease{}), h.lease(model.NewLease{})
		h.drain()
		if x, y := h.wantLease(a, model.LeaseActive), h.wantLease(b, model.LeaseActive); x.Resource == y.Resource {
			t.Errorf("round %d: both leases are on %s", round, x.Resource)
		}
		c, d := h.lease(model.NewLease{}), h.lease(model.NewLease{})
		h.drain()
		h.wantLease(c, model.LeaseActive)
		h.wantLease(d, model.LeaseActive)
		h.verify()
	}
}

func TestFailedCandidateLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{Slots: []string{"licence:1"}})
	a := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(a, model.LeaseActive)
	// The second lease gets a resource of its own, and finds the slot lock held.
	b := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(b, model.LeasePending)
	for _, r := range h.resources(model.ResourceActive) {
		if len(r.Leases) > 0 && r.Leases[0] == b {
			t.Errorf("the failed candidate left lease %s on %s", b, r.ID)
		}
	}
	h.verify()
	h.releaseLease(a)
	h.drain()
	h.sweep(time.Minute)
	h.drain()
	h.wantLease(b, model.LeaseActive)
	h.verify()
}

func TestWaiterThatFitsNothingHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("lab", "pool", "host", 0, map[string]any{"hosts": []hostConfig{
		{Name: "l1", Attributes: map[string]string{"os": "linux"}},
		{Name: "m1", Attributes: map[string]string{"os": "macos"}},
	}})
	mac := h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}})
	linux := h.lease(model.NewLease{Attributes: map[string]string{"os": "linux"}})
	h.drain()
	waitMac := h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}})
	waitAny := h.lease(model.NewLease{})
	waitLinux := h.lease(model.NewLease{Attributes: map[string]string{"os": "linux"}})
	h.drain()
	h.releaseLease(linux)
	h.drain()
	h.wantLease(waitMac, model.LeasePending)
	h.wantLease(waitAny, model.LeaseActive)
	h.wantLease(waitLinux, model.LeasePending)
	h.releaseLease(mac)
	h.drain()
	h.wantLease(waitMac, model.LeaseActive)
	h.releaseLease(waitAny)
	h.drain()
	h.wantLease(waitLinux, model.LeaseActive)
	h.verify()
}

func TestPriorityIsServedFirst(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	holder := h.lease(model.NewLease{})
	h.drain()
	low := h.lease(model.NewLease{})
	high := h.lease(model.NewLease{Priority: 10})
	h.drain()
	h.releaseLease(holder)
	h.drain()
	h.wantLease(high, model.LeaseActive)
	h.wantLease(low, model.LeasePending)
	h.verify()
}

func TestNewcomerDoesNotOvertakeAWaiter(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	holder := h.lease(model.NewLease{})
	h.drain()
	waiter := h.lease(model.NewLease{})
	h.drain()
	h.releaseLease(holder)
	// The release's update runs, and the newcomer's before the waiter's.
	if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, holder)); err != nil {
		t.Fatal(err)
	}
	newcomer := h.lease(model.NewLease{})
	if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, newcomer)); err != nil {
		t.Fatal(err)
	}
	h.wantLease(newcomer, model.LeasePending)
	h.drain()
	h.wantLease(waiter, model.LeaseActive)
	h.wantLease(newcomer, model.LeasePending)
	h.verify()
}

func TestExpiryReleasesAndNeverRevives(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{TTL: time.Minute})
	h.drain()
	ref := model.LeaseRef(h.ns, id)
	h.clock.advance(50 * time.Second)
	h.send(ref, model.CommandExtend, `{"ttl":"1m"}`)
	h.drain()
	h.sweep(40 * time.Second)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	h.clock.advance(time.Minute)
	h.send(ref, model.CommandExtend, `{"ttl":"1h"}`)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	cmds := h.commands(ref)
	if len(cmds) != 3 || cmds[0].Outcome != model.OutcomeApplied || cmds[1].Outcome != model.OutcomeRefused ||
		cmds[2].Author != model.SystemAuthor || cmds[2].Outcome != model.OutcomeApplied {
		for _, c := range cmds {
			t.Errorf("%s by %s: %s %s", c.Name, c.Author, c.Outcome, c.Detail)
		}
	}
	h.verify()
}

func TestPauseKeepsOldLeasesAndTakesNoNewOnes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 2)
	a := h.lease(model.NewLease{})
	h.drain()
	res := model.ResourceRef(h.ns, h.wantLease(a, model.LeaseActive).Resource)
	h.send(res, model.CommandPause, "")
	h.send(res, model.CommandPause, "")
	h.drain()
	if r := h.readResource(res.ID); !r.Paused {
		t.Fatal("the resource is not paused")
	}
	b := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(a, model.LeaseActive)
	h.wantLease(b, model.LeasePending)
	h.send(res, model.CommandUnpause, "")
	h.drain()
	h.wantLease(b, model.LeaseActive)
	if got := h.outcomes(res); got[model.OutcomeApplied] != 2 || got[model.OutcomeSuperseded] != 1 {
		t.Errorf("outcomes = %v, want two applied, one superseded", got)
	}
	h.verify()
}

func TestUpdateRereadsTheResource(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 1, scriptedConfig{})
	a, b := h.lease(model.NewLease{}), h.lease(model.NewLease{})
	h.drain()
	res := model.ResourceRef(h.ns, h.wantLease(a, model.LeaseActive).Resource)
	h.wantLease(b, model.LeasePending)
	h.kind.hooks.UpdateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return blueprints.Changes{Capacity: 2}, nil
	}
	h.send(res, model.CommandUpdate, "")
	h.drain()
	if r := h.readResource(res.ID); r.Capacity != 2 {
		t.Errorf("capacity = %d, want 2", r.Capacity)
	}
	h.wantLease(b, model.LeaseActive)
	h.kind.hooks.UpdateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return blueprints.Changes{}, errors.New("no answer")
	}
	h.send(res, model.CommandUpdate, "")
	h.drain()
	if c := h.commands(res)[1]; c.Outcome != model.OutcomeRefused || c.Detail != "no answer" {
		t.Errorf("update = %s %q, want refused with the hook's error", c.Outcome, c.Detail)
	}
	h.verify()
}

func TestBusyLockIsAShortYield(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{})
	ref := model.LeaseRef(h.ns, id)
	lock, err := h.locks.TryLock(h.ctx, store.LockKey(ref))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.updater.Update(h.ctx, ref); err != nil {
		t.Errorf("Update() under a busy lock = %v, want no failure", err)
	}
	h.queue = nil
	lock.Unlock()
	h.sweep(100 * time.Millisecond)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	h.verify()
}

func TestCommandSentAfterTheLastLookIsNotLost(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	ref := model.LeaseRef(h.ns, id)
	// While a hook runs under the lock, a release comes in and its task finds the lock busy.
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		h.releaseLease(id)
		return h.updater.Update(context.Background(), ref)
	}
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	h.verify()
}

func TestPausedWorkerWritesNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	ref := model.LeaseRef(h.ns, id)
	runs := 0
	var fences []int64
	h.kind.hooks.ActivateLease = func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
		runs++
		fences = append(fences, call.Fence)
		if runs > 1 {
			return nil
		}
		// This run is suspended until its lock is gone; another worker finishes the lease; then this one wakes up.
		if err := h.rdb.Del(h.ctx, store.LockKey(ref)).Err(); err != nil {
			t.Error(err)
		}
		h.releaseLease(id)
		if err := h.updater.Update(context.Background(), ref); err != nil {
			t.Errorf("the other worker: %v", err)
		}
		h.wantLease(id, model.LeaseDestroyed)
		return nil
	}
	h.drain()
	l := h.wantLease(id, model.LeaseDestroyed)
	if !l.ActivatedAt.IsZero() {
		t.Error("the paused worker activated a destroyed lease")
	}
	if !slices.IsSorted(fences) {
		t.Errorf("fences = %v, want rising", fences)
	}
	h.verify()
}

func TestPanicInAHookLeavesNoLockBehind(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { panic("boom") }
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	if text := h.logText(model.LeaseRef(h.ns, id)); !strings.Contains(text, "boom") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	if n, err := h.rdb.Exists(h.ctx, store.LockKey(model.LeaseRef(h.ns, id))).Result(); err != nil || n != 0 {
		t.Errorf("lock left behind: %d, %v", n, err)
	}
	h.verify()
}

func TestHangingHookIsCutOff(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	id := h.lease(model.NewLease{})
	h.kind.hooks.Timeout = 20 * time.Millisecond
	h.kind.hooks.ActivateLease = func(ctx context.Context, _ blueprints.Call, _ *model.Resource, _ *model.Lease) error {
		<-ctx.Done()
		return ctx.Err()
	}
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	if text := h.logText(model.LeaseRef(h.ns, id)); !strings.Contains(text, "timeout") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	h.verify()
}

// TestCrashAtEveryStep kills the worker before and after every call to Redis of a lease's whole life, at each of its steps once,
// and lets another worker go on after the visibility: the object must end where it should.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, executed := range []bool{false, true} {
		for step := 1; ; step++ {
			h := newHarness(t)
			crash := &crashHook{at: step, executed: executed}
			effects := map[string]int{}
			hooked := func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
				effects[call.Key]++
				return nil
			}
			h.kind.hooks.ActivateLease, h.kind.hooks.ReleaseLease, h.kind.hooks.DestroyLease = hooked, hooked, hooked
			h.put("s", "scripted", "host", 1, scriptedConfig{Slots: []string{"port:1"}})
			mortal := redis.NewClient(h.rdb.Options())
			mortal.AddHook(crash)
			living := h.store
			h.store = store.New(mortal, store.Config{Now: h.clock.Now})
			dying := h.updater
			h.updater = NewUpdater(h.store, dying.locks, dying.tasks, dying.catalog.registry, dying.cfg)

			h.store = living
			id := h.lease(model.NewLease{})
			h.drain()
			h.recover(crash, dying)
			h.wantLease(id, model.LeaseActive)
			h.releaseLease(id)
			h.drain()
			h.recover(crash, dying)
			h.wantLease(id, model.LeaseDestroyed)
			if got := h.outcomes(model.LeaseRef(h.ns, id)); got[model.OutcomeApplied] != 1 || len(got) != 1 {
				t.Errorf("crash at %d (executed %t): outcomes = %v", step, executed, got)
			}
			if len(effects) != 3 {
				t.Errorf("crash at %d (executed %t): hook effects = %v, want three idempotency keys", step, executed, effects)
			}
			h.verify()
			_ = mortal.Close()
			if !crash.dead() {
				if step < 8 {
					t.Fatalf("only %d calls were made", step-1)
				}
				break
			}
		}
	}
}

// recover lets the visibility pass and a worker that lives go on.
func (h *harness) recover(crash *crashHook, living *Updater) {
	h.t.Helper()
	if !crash.dead() {
		return
	}
	h.updater = living
	for _, key := range h.rdb.Keys(h.ctx, "drydock:{"+h.ns+"}:lock:*").Val() {
		h.rdb.Del(h.ctx, key)
	}
	for range 3 {
		h.sweep(h.store.Visibility() + time.Second)
		h.drain()
	}
}

// crashHook makes a client die at its nth call: the call is made or not, and its reply and all later calls fail.
type crashHook struct {
	at       int
	executed bool

	mu    sync.Mutex
	calls int
}

var errCrashed = fmt.Errorf("the process has died")

func (c *crashHook) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls >= c.at
}

func (c *crashHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *crashHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name != "evalsha" && name != "eval" && name != "hmget" && name != "hgetall" && name != "mget" {
			return next(ctx, cmd)
		}
		c.mu.Lock()
		c.calls++
		n := c.calls
		c.mu.Unlock()
		if n < c.at {
			return next(ctx, cmd)
		}
		if n == c.at && c.executed {
			// EVALSHA may only teach us that the script is not loaded: then it is the EVAL behind it that counts.
			if err := next(ctx, cmd); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
				c.mu.Lock()
				c.calls--
				c.mu.Unlock()
				return err
			}
		}
		cmd.SetErr(errCrashed)
		return errCrashed
	}
}

func (c *crashHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestWorkerOfAnotherNamespaceHandsTheObjectBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{})
	task, err := tasks.New(model.LeaseRef(h.ns, id))
	if err != nil {
		t.Fatal(err)
	}
	cfg := h.updater.cfg
	cfg.Namespaces = []string{"elsewhere"}
	other := NewUpdater(h.store, h.locks, h, h.updater.catalog.registry, cfg)
	h.queue = nil
	batches := newBatcher(other, cfg.Logger)
	batches.start(1)
	defer batches.stop()
	if err := batches.ProcessTask(h.ctx, task); err != nil {
		t.Errorf("ProcessTask() of another namespace = %v", err)
	}
	if l := h.wantLease(id, model.LeasePending); l.Fence != 0 {
		t.Errorf("a worker of another namespace claimed the lease: fence %d", l.Fence)
	}
	h.sweep(10 * time.Millisecond)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	h.verify()
}

func TestIdleResourceOfTheWrongShapeMakesRoom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("lab", "pool", "host", 1, map[string]any{"hosts": []hostConfig{
		{Name: "l1", Attributes: map[string]string{"os": "linux"}},
		{Name: "m1", Attributes: map[string]string{"os": "macos"}},
	}})
	linux := h.lease(model.NewLease{Attributes: map[string]string{"os": "linux"}})
	h.drain()
	l1 := h.wantLease(linux, model.LeaseActive).Resource
	mac := h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}})
	second := h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}})
	h.drain()
	h.releaseLease(linux)
	h.drain()
	// It was in use a moment ago.
	h.wantResource(l1, model.ResourceActive)
	h.sweep(4 * time.Minute)
	h.drain()
	h.wantResource(l1, model.ResourceDestroyed)
	h.wantLease(mac, model.LeaseActive)
	h.wantLease(second, model.LeasePending)
	reclaims := h.commands(model.ResourceRef(h.ns, l1))
	if len(reclaims) != 1 || reclaims[0].Name != model.CommandReclaim || reclaims[0].Outcome != model.OutcomeApplied {
		t.Errorf("commands of the reclaimed resource: %d, %+v", len(reclaims), reclaims[0])
	}
	h.verify()
}

func TestRefusedReclaimLetsTheWaiterAskAnother(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("lab", "pool", "host", 2, map[string]any{"hosts": []hostConfig{
		{Name: "l1", Attributes: map[string]string{"os": "linux"}},
		{Name: "l2", Attributes: map[string]string{"os": "linux"}},
		{Name: "m1", Attributes: map[string]string{"os": "macos"}},
	}})
	a := h.lease(model.NewLease{Attributes: map[string]string{"os": "linux"}})
	b := h.lease(model.NewLease{Attributes: map[string]string{"os": "linux"}})
	h.drain()
	h.releaseLease(a)
	h.releaseLease(b)
	h.drain()
	h.clock.advance(4 * time.Minute)
	mac := h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}})
	if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, mac)); err != nil {
		t.Fatal(err)
	}
	asked := h.readLease(mac).Work.Reclaiming
	if asked == "" {
		t.Fatalf("nobody was asked; log:\n%s", h.logText(model.LeaseRef(h.ns, mac)))
	}
	// The resource's worker has a clock that is behind: to it, the resource was in use a moment ago.
	h.clock.advance(-3 * time.Minute)
	if err := h.updater.Update(h.ctx, model.ResourceRef(h.ns, asked)); err != nil {
		t.Fatal(err)
	}
	if c := h.commands(model.ResourceRef(h.ns, asked))[0]; c.Outcome != model.OutcomeRefused {
		t.Fatalf("reclaim = %s", c.Outcome)
	}
	h.clock.advance(3 * time.Minute)
	h.drain()
	h.wantLease(mac, model.LeaseActive)
	destroyed := h.resources(model.ResourceDestroyed)
	if len(destroyed) != 1 {
		t.Errorf("%d resources were destroyed, want one", len(destroyed))
	}
	h.verify()
}

func TestNoReclaimGraceMeansNone(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, redistest.Client(t, redistest.Shared(t)), Config{})
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{})
	h.drain()
	res := h.wantLease(id, model.LeaseActive).Resource
	h.releaseLease(id)
	h.drain()
	h.send(model.ResourceRef(h.ns, res), model.CommandReclaim, "")
	h.drain()
	h.wantResource(res, model.ResourceDestroyed)
	h.verify()
}

// TestDeclarationWakesWaitersOfEveryShape: of many that ask for different things, only the last can use what a PUT has changed.
func TestDeclarationWakesWaitersOfEveryShape(t *testing.T) {
	t.Parallel()
	const n = 250
	h := newHarness(t)
	hosts := make([]hostConfig, n)
	for i := range hosts {
		hosts[i] = hostConfig{Name: fmt.Sprintf("h%d", i), Attributes: map[string]string{"n": fmt.Sprint(i)}, Disabled: true}
	}
	config := map[string]any{"hosts": hosts}
	h.put("lab", "pool", "host", 0, config)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = h.lease(model.NewLease{Attributes: map[string]string{"n": fmt.Sprint(i)}})
		h.clock.advance(time.Millisecond)
	}
	h.drain()
	hosts[n-1].Disabled = false
	h.put("lab", "pool", "host", 0, config)
	h.drain()
	h.wantLease(ids[n-1], model.LeaseActive)
	h.wantLease(ids[0], model.LeasePending)
	h.verify()
}

// TestReleaseDuringActivationLeavesTheLeaseInactive: what is wanted back before it is active never becomes active, whether its activation
// is outside work that is under way or a write that is about to be made.
func TestReleaseDuringActivationLeavesTheLeaseInactive(t *testing.T) {
	t.Parallel()
	t.Run("hook", func(t *testing.T) {
		t.Parallel()
		h := newHarness(t)
		var id string
		var steps []string
		h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
			steps = append(steps, "activate")
			h.releaseLease(id)
			return nil
		}
		h.kind.hooks.ReleaseLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
			steps = append(steps, "release")
			return nil
		}
		h.put("s", "scripted", "host", 0, scriptedConfig{})
		id = h.lease(model.NewLease{})
		h.drain()
		if l := h.wantLease(id, model.LeaseDestroyed); !l.ActivatedAt.IsZero() {
			t.Errorf("it became active at %s", l.ActivatedAt)
		}
		if !slices.Equal(steps, []string{"activate", "release"}) {
			t.Errorf("hooks %q", steps)
		}
		h.verify()
	})
	t.Run("write", func(t *testing.T) {
		t.Parallel()
		h := newHarness(t)
		var id string
		h.kind.hooks.AcquireLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) ([]string, error) {
			// More than one claim returns stand before the release.
			for range store.MaxClaimed + 1 {
				h.send(model.LeaseRef(h.ns, id), model.CommandExtend, `{"ttl":"1h"}`)
			}
			h.releaseLease(id)
			return nil, nil
		}
		h.put("s", "scripted", "host", 0, scriptedConfig{})
		id = h.lease(model.NewLease{})
		h.drain()
		if l := h.wantLease(id, model.LeaseDestroyed); !l.ActivatedAt.IsZero() || !l.AcquiredAt.IsZero() {
			t.Errorf("it became active at %s", l.ActivatedAt)
		}
		h.verify()
	})
}

// TestResourceThatIsReleasedMeanwhileIsNotRetired: a worker that was suspended wants to retire what another has released.
func TestResourceThatIsReleasedMeanwhileIsNotRetired(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.MaxIdleAge = 2, time.Hour })
	h.drain()
	res := h.resources(model.ResourceActive)[0]
	h.clock.advance(2 * time.Hour)
	// It is one more than shall be idle when it looks, and released when it sends the order.
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.MaxIdleAge = 1, time.Hour })
	h.queue = nil
	other := NewUpdater(h.store, h.locks, h, h.updater.catalog.registry, h.updater.cfg)
	suspended := redis.NewClient(h.rdb.Options())
	defer func() { _ = suspended.Close() }()
	suspended.AddHook(&beforeScript{isOne: sendsReclaim, fn: func() {
		h.rdb.Del(h.ctx, store.LockKey(res.Ref))
		h.releaseResource(res.ID)
		if err := other.Update(h.ctx, res.Ref); err != nil {
			t.Error(err)
		}
	}})
	h.updater = NewUpdater(store.New(suspended, store.Config{Now: h.clock.Now}), h.locks, h, h.updater.catalog.registry, h.updater.cfg)
	if err := h.updater.Update(h.ctx, res.Ref); err != nil {
		t.Errorf("update: %v, want a quiet stop", err)
	}
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.verify()
}

// beforeScript runs a function before the first script whose arguments are the ones.
type beforeScript struct {
	isOne func(args []any) bool
	fn    func()
}

func (b *beforeScript) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *beforeScript) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *beforeScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if b.fn != nil && strings.HasPrefix(cmd.Name(), "eval") && b.isOne(cmd.Args()) {
			fn := b.fn
			b.fn = nil
			fn()
		}
		return next(ctx, cmd)
	}
}

// sendsReclaim and writesStep say what a script is by its arguments.
func sendsReclaim(args []any) bool { return slices.Contains(args, any(string(model.CommandReclaim))) }

func writesStep(args []any) bool {
	step, ok := args[len(args)-1].(string)
	return ok && len(args) > 6 && strings.Contains(step, `"writer"`)
}
