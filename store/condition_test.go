package store

import (
	"testing"

	"drydock/model"
)

func TestBlueprintsArePutUnderACondition(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	put := func(cond model.Condition, limit int) (*model.Blueprint, error) {
		stored, _, _, err := e.PutBlueprint(e.ctx, &model.Blueprint{Namespace: e.ns, Name: "lab", Kind: "pool", Type: "host", Limit: limit}, cond)
		return stored, err
	}
	refused := func(what string, cond model.Condition, want string) {
		t.Helper()
		before := e.dump()
		if _, err := put(cond, 9); kindOf(err) != model.ErrorPrecondition || err.Error() != want {
			t.Errorf("%s = %v, want %q", what, err, want)
		}
		e.wantChanges(before)
	}
	refused("where there is none", model.Condition{Some: true}, "there is no blueprint of this name")
	refused("at a rev where there is none", model.Condition{Rev: new(int64(3))}, "there is no blueprint of this name")
	first, err := put(model.Condition{None: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	refused("a second first one", model.Condition{None: true}, "there is a blueprint of this name already; its rev is 1")
	second, err := put(model.Condition{Rev: &first.Rev}, 2)
	if err != nil || second.Rev == first.Rev {
		t.Fatalf("at the rev it has = %+v, %v", second, err)
	}
	refused("at the rev it had", model.Condition{Rev: &first.Rev}, "the blueprint has rev 2, not 1")
	if _, err := put(model.Condition{Some: true}, 3); err != nil {
		t.Errorf("where there is one = %v", err)
	}
}
