//go:build unix

package target_test

import (
	"errors"
	"testing"

	"drydock/proof/torture/target"
)

// TestTarget: the target is as careful as the manual asks targets to be.
func TestTarget(t *testing.T) {
	t.Parallel()
	tgt := target.Target{Folder: t.TempDir()}
	if err := tgt.Prepare(); err != nil {
		t.Fatal(err)
	}
	const lease1, lease2, resource = "default/lease/l1", "default/lease/l2", "default/resource/r1"
	for _, tt := range []struct {
		step, object string
		fence        int64
		refused      bool
	}{
		{target.StepActivate, resource, 1, false},
		{target.StepActivateLease, lease1, 5, false},
		{target.StepActivateLease, lease1, 5, false},
		{target.StepActivateLease, lease1, 4, true},
		{target.StepActivateLease, lease2, 2, false},
		{target.StepDestroyLease, lease1, 6, false},
		{target.StepActivateLease, lease1, 5, true},
		{target.StepDestroy, resource, 3, false},
		{target.StepActivate, resource, 2, true},
		{target.StepDestroyLease, lease2, 3, false},
		{target.StepActivateLease, lease2, 4, true},
	} {
		err := tgt.Take(target.Effect{Step: tt.step, Object: tt.object, Resource: "r1", Fence: tt.fence})
		if errors.Is(err, target.ErrRefused) != tt.refused || err != nil && !tt.refused {
			t.Errorf("%s of %s with fence %d: %v, want refused: %t", tt.step, tt.object, tt.fence, err, tt.refused)
		}
	}
	effects, err := tgt.Effects()
	if err != nil || len(effects) != 11 {
		t.Fatalf("%d effects, %v, want all eleven", len(effects), err)
	}
	if e := effects[9]; e.Refused != target.RefusedGone {
		t.Errorf("a clean-up on a resource that is gone was not done because %q, want %q", e.Refused, target.RefusedGone)
	}
	for i := 1; i < len(effects); i++ {
		if effects[i].At < effects[i-1].At {
			t.Errorf("effect %d stands behind one that happened later", i)
		}
	}
}

// TestTargetTellsWhatItWasAsked: Run reads the environment of a hook, and fails where that makes no sense or the target is in a bad mood.
func TestTargetTellsWhatItWasAsked(t *testing.T) {
	t.Parallel()
	tgt := target.Target{Folder: t.TempDir()}
	if err := tgt.Prepare(); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"DRYDOCK_STEP": target.StepActivateLease, "DRYDOCK_OBJECT": "default/lease/l1", "DRYDOCK_RESOURCE_ID": "r1", "DRYDOCK_RESOURCE_NAME": "made-1",
		"DRYDOCK_FENCE": "7", "DRYDOCK_IDEMPOTENCY_KEY": "k", "DRYDOCK_ATTEMPT": "2",
	}
	run := func() error { return tgt.Run(func(name string) string { return env[name] }) }
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if err := tgt.SetTrouble(target.Fail); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil {
		t.Error("a hook in a bad mood succeeds")
	}
	if err := errors.Join(tgt.SetTrouble(""), tgt.SetTrouble("")); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Errorf("the bad mood is over, and the hook fails: %v", err)
	}
	env["DRYDOCK_FENCE"] = ""
	if err := run(); err == nil {
		t.Error("a hook without a fence succeeds")
	}
	effects, err := tgt.Effects()
	if err != nil || len(effects) != 3 {
		t.Fatalf("%d effects, %v, want three", len(effects), err)
	}
	e := effects[0]
	if e.Step != target.StepActivateLease || e.Object != "default/lease/l1" || e.Resource != "r1" || e.ResourceName != "made-1" || e.Fence != 7 ||
		e.Key != "k" || e.Attempt != 2 || e.BeginAt == 0 || e.At < e.BeginAt || e.Refused != "" {
		t.Errorf("the first effect is %+v", e)
	}
}
