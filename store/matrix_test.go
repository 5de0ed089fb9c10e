package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"drydock/model"
)

// The matrix: every state × every operation, through the real scripts. What is allowed moves the object and keeps everything true
// that must be; everything else changes nothing at all.

// cell is one operation on an object in one state.
type cell struct {
	name    string
	allowed bool
	// do tries the operation.
	do func(e *env, ref model.Ref) error
	// refusal is the kind of error, or "" when the operation ends quietly without an effect.
	refusal model.ErrorKind
	// after is the state afterwards when it is allowed; empty = the same.
	after string
}

// runMatrix tries each cell on a fresh object.
func runMatrix(t *testing.T, state string, seed func(e *env) model.Ref, cells []cell) {
	t.Helper()
	for _, c := range cells {
		e := newEnv(t)
		ref := seed(e)
		if got := e.dump().Values[ref.Member()+" status"]; got != state {
			t.Fatalf("seeded %q, want %q", got, state)
		}
		before := e.dump()
		err := c.do(e, ref)
		diff := changes(before, e.dump())
		switch {
		case c.allowed && (err != nil || len(diff) == 0):
			t.Errorf("%s: %v, %d changes, want it done", c.name, err, len(diff))
		case !c.allowed && (kindOf(err) != c.refusal || len(diff) > 0):
			t.Errorf("%s: %v, want %q and no change, not %v", c.name, err, c.refusal, diff)
		}
		want := state
		if c.allowed && c.after != "" {
			want = c.after
		}
		if got := e.dump().Values[ref.Member()+" status"]; got != want {
			t.Errorf("%s: the state is %q, want %q", c.name, got, want)
		}
		problems, err := e.Verify(e.ctx, e.ns)
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: verify: %q, %v", c.name, problems, err)
		}
	}
}

// common are the operations that leases and resources share. terminal objects take no pen: it is forged from what is stored.
func common(commandable, terminal bool) []cell {
	cells := []cell{
		{name: "claim", allowed: !terminal, do: func(e *env, ref model.Ref) error {
			c, err := e.Claim(e.ctx, ref, "w1")
			if err == nil && (c == nil) != terminal {
				err = fmt.Errorf("claim = %v", c)
			}
			return err
		}},
		{name: "touch by nobody", refusal: model.ErrorConflict, do: func(e *env, ref model.Ref) error {
			return e.Touch(e.ctx, &Claim{Ref: ref, Writer: "nobody"})
		}},
		{name: "finish by nobody", refusal: model.ErrorConflict, do: func(e *env, ref model.Ref) error {
			_, err := e.Finish(e.ctx, &Claim{Ref: ref, Writer: "nobody"}, start)
			return err
		}},
		{name: "touch", allowed: true, do: func(e *env, ref model.Ref) error {
			return e.Touch(e.ctx, e.pen(ref))
		}},
		{name: "finish", allowed: true, do: func(e *env, ref model.Ref) error {
			_, err := e.Finish(e.ctx, e.pen(ref), start.Add(9*time.Hour))
			return err
		}},
		{name: "busy", allowed: true, do: func(e *env, ref model.Ref) error {
			_, err := e.Busy(e.ctx, ref, "token", time.Second)
			return err
		}},
	}
	for _, name := range model.CommandNames() {
		c := cell{name: "send " + string(name), allowed: commandable, refusal: model.ErrorConflict, do: func(e *env, ref model.Ref) error {
			_, err := e.Send(e.ctx, command(ref, "c1", name), model.Idempotency{})
			return err
		}}
		if name == model.CommandRelease {
			c.refusal = "" // nothing is left to do
		}
		cells = append(cells, c)
	}
	return cells
}

func TestLeaseMatrix(t *testing.T) {
	t.Parallel()
	for _, state := range model.LeaseStates() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			seed := func(e *env) model.Ref { return e.leaseIn("l1", state) }
			cells := common(state.Commandable(), state.Terminal())
			for _, next := range model.LeaseStates() {
				cells = append(cells, cell{
					name: "apply " + string(next), allowed: state.CanBecome(next) && next != model.LeaseAcquired, refusal: model.ErrorInternal,
					after: string(next), do: func(e *env, ref model.Ref) error {
						st := LeaseStep{Path: []model.LeaseState{next}, Requeue: next == model.LeasePending}
						_, err := e.ApplyLease(e.ctx, e.pen(ref), st)
						return err
					},
				})
			}
			pending := state == model.LeasePending
			refusal := model.ErrorInternal // a bug of the caller: it read the state
			cells = append(cells,
				cell{name: "apply nothing", allowed: true, do: func(e *env, ref model.Ref) error {
					_, err := e.ApplyLease(e.ctx, e.pen(ref), LeaseStep{})
					return err
				}},
				cell{
					name: "acquire", allowed: pending, refusal: refusal, after: string(model.LeaseAcquired),
					do: func(e *env, ref model.Ref) error { return e.tryAcquire(ref) },
				},
				cell{
					name: "acquire and activate", allowed: pending, refusal: refusal, after: string(model.LeaseActive),
					do: func(e *env, ref model.Ref) error {
						return e.tryAcquire(ref, model.LeaseActive)
					},
				},
				cell{name: "create a resource for it", allowed: pending, refusal: refusal, do: func(e *env, ref model.Ref) error {
					_, err := e.CreateResource(e.ctx, e.pen(ref), NewResource{
						ID: "r2", Name: "r2", Blueprint: e.blueprint(bp), Capacity: 1,
					}, LeaseStep{Step: Step{LookAgain: start.Add(time.Hour)}})
					return err
				}},
			)
			runMatrix(t, string(state), func(e *env) model.Ref {
				// What acquire and create need is there from the start, so that it is no change.
				e.resource("target", spec{capacity: 2})
				return seed(e)
			}, cells)
		})
	}
}

// tryAcquire puts the lease on the resource "target".
func (e *env) tryAcquire(ref model.Ref, then ...model.LeaseState) error {
	st := e.acquireStep("target", "slot-target")
	st.Path = append(st.Path, then...)
	_, err := e.ApplyLease(e.ctx, e.pen(ref), st)
	return err
}

func TestResourceMatrix(t *testing.T) {
	t.Parallel()
	for _, state := range model.ResourceStates() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			cells := common(state.Commandable(), state.Terminal())
			for _, next := range model.ResourceStates() {
				cells = append(cells, cell{
					name: "apply " + string(next), allowed: state.CanBecome(next), refusal: model.ErrorInternal, after: string(next),
					do: func(e *env, ref model.Ref) error {
						_, err := e.ApplyResource(e.ctx, e.pen(ref), ResourceStep{Path: []model.ResourceState{next}})
						return err
					},
				})
			}
			active := state == model.ResourceActive
			cells = append(cells,
				cell{name: "apply nothing", allowed: true, do: func(e *env, ref model.Ref) error {
					_, err := e.ApplyResource(e.ctx, e.pen(ref), ResourceStep{})
					return err
				}},
				cell{name: "acquire on it", allowed: active, refusal: model.ErrorConflict, do: func(e *env, ref model.Ref) error {
					_, err := e.ApplyLease(e.ctx, e.pen(e.leaseRef("waiter")), e.acquireStep(ref.ID, "slot"))
					if !active && !errors.Is(err, model.ErrResourceUnusable) {
						e.Errorf("acquire: %v, want %v", err, model.ErrResourceUnusable)
					}
					return err
				}},
			)
			runMatrix(t, string(state), func(e *env) model.Ref {
				ref := e.resource("r1", spec{state: state, capacity: 2, slots: []string{"host:r1"}})
				e.lease("waiter", model.NewLease{})
				return ref
			}, cells)
		})
	}
}

// TestCommandsAreCheckedAtTheDoor: the scripts know which states take commands; which kind of object takes which command is the
// door's to say, for every pair.
func TestCommandsAreCheckedAtTheDoor(t *testing.T) {
	t.Parallel()
	takes := map[model.Kind][]model.CommandName{
		model.KindLease:    {model.CommandRelease, model.CommandExtend},
		model.KindResource: model.CommandNames(),
	}
	for _, k := range model.Kinds() {
		for _, name := range model.CommandNames() {
			var args []byte
			if name == model.CommandExtend {
				args = []byte(`{"ttl":"1m"}`)
			}
			err := model.CheckCommand(k, name, args, "")
			if want := slices.Contains(takes[k], name); (err == nil) != want {
				t.Errorf("%s to a %s: %v, want it taken: %t", name, k, err, want)
			}
		}
	}
}
