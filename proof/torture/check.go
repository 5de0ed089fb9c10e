//go:build unix

package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drydock/proof/torture/target"
)

// A Violation is something that a history shows and that must not be.
type Violation struct {
	// Check names what found it.
	Check string
	Text  string
}

func (v Violation) String() string { return v.Check + ": " + v.Text }

// checker collects what one history shows.
type checker struct {
	History
	leases    map[string]Lease
	resources map[string]Resource
	found     []Violation
}

func (c *checker) breachf(check, format string, args ...any) {
	c.found = append(c.found, Violation{check, fmt.Sprintf(format, args...)})
}

// Check returns all that is wrong with a history, in a stable order.
func Check(h History) []Violation {
	c := &checker{History: h, leases: map[string]Lease{}, resources: map[string]Resource{}}
	for _, l := range h.Leases {
		c.leases[l.ID] = l
	}
	for _, r := range h.Resources {
		c.resources[r.ID] = r
	}
	c.checkCreated()
	c.checkConsumed()
	c.checkOrder()
	c.checkStuck()
	c.checkApplied()
	c.checkHolders()
	c.checkEffects()
	c.checkLate()
	c.checkDone()
	c.checkTarget()
	c.checkRegisters()
	c.checkMutexes()
	c.checkFailovers()
	return c.found
}

// checkCreated: each accepted request for a lease made one lease, and no other one is there.
func (c *checker) checkCreated() {
	byOwner := map[string][]string{}
	for _, l := range c.Leases {
		byOwner[l.Owner] = append(byOwner[l.Owner], l.ID)
	}
	asked := map[string]bool{}
	for _, call := range c.Calls {
		if call.Op != OpCreate {
			continue
		}
		asked[call.Author] = true
		switch ids := byOwner[call.Author]; {
		case len(ids) > 1:
			c.breachf("created", "one request made the leases %q: %v", ids, call)
		case call.Object != "" && !slices.Contains(ids, call.Object) && !c.excused(lease(call.Object)):
			c.breachf("created", "lease %s was promised, and there is %q: %v", call.Object, ids, call)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		if !asked[owner] {
			c.breachf("created", "nobody asked for the leases %q of %q", byOwner[owner], owner)
		}
	}
}

// checkConsumed: each accepted command is in its object's history once, with an outcome, and no other one of a client is there.
func (c *checker) checkConsumed() {
	type sent struct {
		object string
		id     string
	}
	byAuthor := map[string][]sent{}
	for _, object := range slices.Sorted(maps.Keys(c.Commands)) {
		for _, cmd := range c.Commands[object] {
			if cmd.Origin.Via == "api" {
				byAuthor[cmd.Author] = append(byAuthor[cmd.Author], sent{object, cmd.ID})
			}
			if cmd.Outcome == "" {
				c.breachf("stuck", "command %s (%s) of %s was never consumed", cmd.ID, cmd.Command, object)
			}
		}
	}
	// answered are the calls by author. There are several of one when it was forgotten and sent again.
	answered := map[string][]Call{}
	for _, call := range c.Calls {
		if call.Op == OpRelease || call.Op == OpCommand {
			answered[call.Author] = append(answered[call.Author], call)
		}
	}
	for _, author := range slices.Sorted(maps.Keys(answered)) {
		found := byAuthor[author]
		delete(byAuthor, author)
		for _, call := range answered[author] {
			switch {
			case len(found) > 1:
				c.breachf("consumed once", "one request made %d commands, %v: %v", len(found), found, call)
			case call.CommandID != "" && (len(found) == 0 || found[0] != sent{call.Object, call.CommandID}) && !c.excused(command(call.CommandID)):
				c.breachf("consumed once", "accepted command %s is not in the history of %s, where there is %v: %v", call.CommandID, call.Object, found, call)
			case call.CommandID == "" && call.Status != 0 && len(found) > 0 && len(answered[author]) == 1:
				c.breachf("consumed once", "the answer spoke of no command, and there is %v: %v", found, call)
			}
		}
	}
	for _, author := range slices.Sorted(maps.Keys(byAuthor)) {
		c.breachf("consumed once", "nobody sent %v of %q", byAuthor[author], author)
	}
}

// checkOrder: the commands of an object are consumed in the order in which they were sent, and so by ever newer writers.
func (c *checker) checkOrder() {
	calls := map[string]Call{}
	for _, call := range c.Calls {
		if call.CommandID != "" {
			calls[call.CommandID] = call
		}
	}
	for _, object := range slices.Sorted(maps.Keys(c.Commands)) {
		list := c.Commands[object]
		var latest Call // of those before, the one that was begun last
		for i, cmd := range list {
			if i > 0 && cmd.SentAt.Before(list[i-1].SentAt) {
				c.breachf("order", "%s: %s stands behind %s, which was sent later", object, cmd.ID, list[i-1].ID)
			}
			if i > 0 && cmd.Outcome != "" && cmd.Fence < list[i-1].Fence {
				c.breachf("order", "%s: %s was consumed with fence %d after %s with fence %d", object, cmd.ID, cmd.Fence, list[i-1].ID, list[i-1].Fence)
			}
			call, ok := calls[cmd.ID]
			if !ok {
				continue
			}
			if latest.CommandID != "" && call.EndAt < latest.BeginAt {
				c.breachf("order", "%s: %s stands behind %s, and was answered before that was sent: %v, %v", object, cmd.ID, latest.CommandID, call, latest)
			}
			if call.BeginAt >= latest.BeginAt {
				latest = call
			}
		}
	}
}

// checkStuck: in the end all leases, which have all been released, are destroyed, and all resources are at rest.
func (c *checker) checkStuck() {
	for _, l := range c.Leases {
		if l.Status != "destroyed" || l.Releasing {
			c.breachf("stuck", "lease %s is %s (releasing: %t)", l.ID, l.Status, l.Releasing)
		}
	}
	for _, r := range c.Resources {
		if !r.rests() {
			c.breachf("stuck", "resource %s (%s) is %s (releasing: %t) with %d leases", r.ID, r.Name, r.Status, r.Releasing, r.Leases)
		}
	}
}

// checkApplied: what was released was released once. A lease that could not be activated breaks and needs nobody to release it.
func (c *checker) checkApplied() {
	for _, l := range c.Leases {
		applied := 0
		for _, cmd := range c.Commands[l.ID] {
			if cmd.Command == "release" && cmd.Outcome == "applied" {
				applied++
			}
		}
		mayBreak := l.Type == madeType && l.ActivatedAt == nil
		if applied > 1 || applied == 0 && l.Status == "destroyed" && !mayBreak {
			c.breachf("applied once", "lease %s is destroyed, and %d releases were applied", l.ID, applied)
		}
	}
}

// checkHolders: by what is stored, no two leases have a place on a resource that takes one.
func (c *checker) checkHolders() {
	byResource := map[string][]Lease{}
	for _, l := range c.Leases {
		if l.Resource != "" && l.AcquiredAt != nil && c.resources[l.Resource].Capacity <= 1 {
			byResource[l.Resource] = append(byResource[l.Resource], l)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byResource)) {
		list := byResource[id]
		slices.SortFunc(list, func(a, b Lease) int { return a.AcquiredAt.Compare(*b.AcquiredAt) })
		for i := 1; i < len(list); i++ {
			if end := list[i-1].DestroyedAt; end == nil || list[i].AcquiredAt.Before(*end) {
				c.breachf("one holder", "leases %s and %s had a place on %s at once", list[i-1].ID, list[i].ID, id)
			}
		}
	}
}

// done are the effects that were not refused.
func (c *checker) done() []target.Effect {
	return slices.DeleteFunc(slices.Clone(c.Effects), func(e target.Effect) bool { return e.Refused != "" })
}

// checkEffects: a step is done again only under its own key and by a newer writer, and never for an older writer after a newer one.
func (c *checker) checkEffects() {
	newest := map[string]target.Effect{}
	first := map[string]target.Effect{}
	runs := map[string]map[int64]target.Effect{} // by key and fence
	keys := map[string]string{}
	for _, e := range c.done() {
		if last, ok := newest[e.Object]; ok && e.Fence < last.Fence {
			c.breachf("fence", "%s of %s with fence %d was done after %s with fence %d", e.Step, e.Object, e.Fence, last.Step, last.Fence)
		}
		newest[e.Object] = e
		if runs[e.Key] == nil {
			runs[e.Key] = map[int64]target.Effect{}
		}
		if before, ok := runs[e.Key][e.Fence]; ok && !c.failedOver(before, e) {
			c.breachf("fence", "%s of %s was done twice with fence %d, at %v and at %v", e.Step, e.Object, e.Fence,
				time.Unix(0, before.At).UTC().Format(time.RFC3339Nano), time.Unix(0, e.At).UTC().Format(time.RFC3339Nano))
		}
		runs[e.Key][e.Fence] = e
		if f, ok := first[e.Key]; !ok {
			first[e.Key] = e
		} else if f.Step != e.Step || f.Object != e.Object || f.Resource != e.Resource {
			c.breachf("idempotency key", "%q is the key of %s of %s on %s, and of %s of %s on %s",
				e.Key, f.Step, f.Object, f.Resource, e.Step, e.Object, e.Resource)
		}
		step := e.Step + " " + e.Object + " " + e.Resource
		if key, ok := keys[step]; ok && key != e.Key {
			c.breachf("idempotency key", "%s was done under the keys %q and %q", step, key, e.Key)
		}
		keys[step] = e.Key
	}
}

// storedLate is how much later than it was done an effect may be dated, because Redis and the target round differently.
const storedLate = 2 * time.Millisecond

// checkLate: once the success of a step is stored, the step is not done again.
func (c *checker) checkLate() {
	for _, e := range c.done() {
		var stored *time.Time
		lease := c.leases[idOf(e.Object)]
		switch resource := c.resources[e.Resource]; e.Step {
		case target.StepActivate:
			stored = resource.ActivatedAt
		case target.StepDestroy:
			stored = resource.DestroyedAt
		case target.StepActivateLease:
			if lease.Resource == e.Resource {
				stored = lease.ActivatedAt
			}
		case target.StepReleaseLease, target.StepDestroyLease:
			stored = lease.DestroyedAt
		}
		if at := time.Unix(0, e.At); stored != nil && at.After(stored.Add(storedLate)) {
			c.breachf("late effect", "%s of %s with fence %d was done at %v, and its success had been stored at %v", e.Step, e.Object, e.Fence,
				at.UTC().Format(time.RFC3339Nano), stored.Format(time.RFC3339Nano))
		}
	}
}

// idOf returns the id in namespace/kind/id.
func idOf(object string) string {
	for i := len(object) - 1; i >= 0; i-- {
		if object[i] == '/' {
			return object[i+1:]
		}
	}
	return object
}

// madeType is the type whose every step is a hook.
const madeType = "made"

// checkDone: what is stored as done was done.
func (c *checker) checkDone() {
	type step struct{ step, object, resource string }
	done := map[step]bool{}
	for _, e := range c.Effects {
		if e.Refused == "" || e.Refused == target.RefusedGone {
			done[step{e.Step, idOf(e.Object), e.Resource}] = true
		}
	}
	want := func(what, object, resource string, at *time.Time) {
		if at != nil && !done[step{what, object, resource}] {
			c.breachf("effect missing", "%s of %s on %s is stored as done at %v, and never was", what, object, resource, at.Format(time.RFC3339Nano))
		}
	}
	for _, l := range c.Leases {
		if l.Type == madeType && l.ActivatedAt != nil {
			want(target.StepActivateLease, l.ID, l.Resource, l.ActivatedAt)
			want(target.StepDestroyLease, l.ID, l.Resource, l.DestroyedAt)
		}
	}
	for _, r := range c.Resources {
		if r.Type == madeType && r.ActivatedAt != nil {
			want(target.StepActivate, r.ID, r.ID, r.ActivatedAt)
			want(target.StepDestroy, r.ID, r.ID, r.DestroyedAt)
		}
	}
}

// about lists all that came to the target for one resource.
func (c *checker) about(resource string) string {
	var text strings.Builder
	for _, e := range c.Effects {
		if e.Resource == resource {
			fmt.Fprintf(&text, "\n  %s to %s %s of %s, fence %d, attempt %d %s", time.Unix(0, e.BeginAt).UTC().Format("15:04:05.000"),
				time.Unix(0, e.At).UTC().Format("15:04:05.000"), e.Step, e.Object, e.Fence, e.Attempt, e.Refused)
		}
	}
	return text.String()
}

// checkTarget: by what was done to it, each thing outside has one resource at a time, and that one holder at a time.
func (c *checker) checkTarget() {
	type thing struct {
		resource, holder string
		activated, taken target.Effect
	}
	things := map[string]thing{}
	effects := c.done()
	slices.SortStableFunc(effects, func(a, b target.Effect) int { return cmp.Compare(a.At, b.At) })
	for _, e := range effects {
		t := things[e.ResourceName]
		if t.resource != e.Resource && c.undone(t.activated, e, func(s Stock) bool { return s.Resources[t.resource] }) {
			t.resource = ""
		}
		if t.holder != idOf(e.Object) && c.undone(t.taken, e, func(s Stock) bool { return s.Leases[t.holder] == t.taken.Resource }) {
			t.holder = ""
		}
		wrong := func(why string) {
			c.breachf("one holder outside", "%s of %s on %s (%s) with fence %d: %s %s; what came to it:%s", e.Step, e.Object, e.ResourceName, e.Resource,
				e.Fence, why, t.holder, c.about(e.Resource))
		}
		switch lease := idOf(e.Object); e.Step {
		case target.StepActivate:
			if t.resource != "" && t.resource != e.Resource {
				wrong("it still belongs to resource " + t.resource + ", lease")
			}
			if t.holder != "" {
				wrong("it is in use by lease")
			}
			t.resource, t.activated = e.Resource, e
		case target.StepDestroy:
			if t.resource != "" && t.resource != e.Resource {
				wrong("it belongs to resource " + t.resource + ", lease")
			}
			if t.holder != "" {
				wrong("it is in use by lease")
			}
			t = thing{}
		case target.StepActivateLease:
			if t.resource != e.Resource {
				wrong("it belongs to resource " + t.resource + ", lease")
			}
			if t.holder != "" && t.holder != lease {
				wrong("it is in use by lease")
			}
			t.holder, t.taken = lease, e
		case target.StepReleaseLease, target.StepDestroyLease:
			if t.holder != "" && t.holder != lease {
				wrong("it is in use by lease")
			}
			if e.Step == target.StepDestroyLease {
				t.holder = ""
			}
		}
		things[e.ResourceName] = t
	}
}
