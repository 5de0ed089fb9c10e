package store

import (
	"testing"

	"drydock/model"
)

func TestDeliveries(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	read := func(what string, late bool, dead int64) {
		t.Helper()
		got, err := e.Deliveries(e.ctx, e.ns)
		e.must(err)
		later, err := e.Deliveries(e.ctx, e.ns)
		e.must(err)
		// Within a millisecond of the event it has no age yet.
		if late != (later.Lag > got.Lag) || !late && got.Lag != 0 || got.DeadLetters != dead {
			t.Errorf("%s: %+v, then %+v; want late %t and %d dead letters", what, got, later, late, dead)
		}
	}
	e.createLease("l1", model.NewLease{Type: "host"})
	read("nobody subscribes", false, 0)
	_, _, err := e.PutSubscription(e.ctx, subscription(e, "s1"))
	e.must(err)
	read("nothing has happened", false, 0)
	_, _, err = e.PutSubscription(e.ctx, subscription(e, "s2"))
	e.must(err)
	read("another one was made, which is no event", false, 0)
	e.createLease("l2", model.NewLease{Type: "host"})
	read("a lease was queued", true, 0)
	claims := []*SubscriptionClaim{}
	for _, name := range []string{"s1", "s2"} {
		c, err := e.ClaimSubscription(e.ctx, e.ns, name)
		e.must(err)
		claims = append(claims, c)
	}
	e.must(e.EventsPassed(e.ctx, claims[0], e.lastID()))
	read("one has got past it", true, 0)
	e.must(e.EventDead(e.ctx, claims[1], &model.Event{ID: e.lastID(), Namespace: e.ns, Object: e.leaseRef("l2"), Event: model.EventQueued}, 3, "no"))
	read("the other has given it up", false, 1)
	e.createLease("l3", model.NewLease{Type: "host"})
	for _, name := range []string{"s1", "s2"} {
		sub := subscription(e, name)
		sub.Enabled = false
		_, _, err = e.PutSubscription(e.ctx, sub)
		e.must(err)
	}
	read("both are disabled", false, 1)
}
