package store

import (
	"testing"

	"drydock/model"
)

func TestLockKeysAreReadBack(t *testing.T) {
	t.Parallel()
	for _, ref := range []model.Ref{model.LeaseRef("ci", "01abc"), model.ResourceRef("a.b-c", "x"), model.BlueprintRef("ci", "lab")} {
		if got, err := ParseLockKey(LockKey(ref)); got != ref || err != nil {
			t.Errorf("ParseLockKey(LockKey(%s)) = %s, %v", ref, got, err)
		}
	}
	for _, key := range []string{"", "lock", "drydock:{ci}:lease:01abc", "drydock:{ci}:lock:nonsense", "drydock:ci:lock:lease:1"} {
		if got, err := ParseLockKey(key); err == nil {
			t.Errorf("ParseLockKey(%q) = %s, want an error", key, got)
		}
	}
}
