//go:build unix

package torture

import (
	"slices"
	"time"

	"drydock/proof/torture/target"
)

// What a failover may do to a history. Replication is asynchronous: the promoted replica lacks what it had not heard of yet, and whatever
// rested on that. Nobody waits for the replica to hear what workers write, so that also where no accepted order is lost,
//
//   - a lease may be seen to go back, once, at the failover, to what the replica knew of it;
//   - the fences that the old primary gave out may be given out again;
//   - a thing may be in use for a lease, or belong to a resource, that nobody knows any more.
//
// Everything else holds as ever, and each of these holds up to the failover and from it on.

// in says whether something is in the stock of a server.
type in func(Stock) bool

func lease(id string) in   { return func(s Stock) bool { return s.hasLease(id) } }
func command(id string) in { return func(s Stock) bool { return s.Commands[id] } }

// forgot says whether the old primary had something, and the promoted replica did not.
func (f Failover) forgot(has in) bool { return has(f.Old) && !has(f.New) }

// excused says whether something that was accepted may be missing.
func (h History) excused(has in) bool {
	return h.MayForget && slices.ContainsFunc(h.Failovers, func(f Failover) bool { return f.forgot(has) })
}

// there returns the ids of all leases and commands that are there in the end.
func (h History) there() map[string]bool {
	ids := map[string]bool{}
	for _, l := range h.Leases {
		ids[l.ID] = true
	}
	for _, list := range h.Commands {
		for _, c := range list {
			ids[c.ID] = true
		}
	}
	return ids
}

// Lost counts the leases and the commands that were accepted and are not there in the end.
func Lost(h History) (leases, commands int) {
	there := h.there()
	for _, call := range h.Calls {
		if call.Op == OpCreate && call.Object != "" && !there[call.Object] {
			leases++
		}
		if call.CommandID != "" && !there[call.CommandID] {
			commands++
		}
	}
	return leases, commands
}

// checkFailovers: what a failover has forgotten does not come back, and from then on orders are accepted again.
func (c *checker) checkFailovers() {
	there := c.there()
	for _, f := range c.Failovers {
		for _, call := range c.Calls {
			if call.EndAt >= f.FromAt {
				continue // the API may have asked both
			}
			if call.Op == OpCreate && there[call.Object] && f.forgot(lease(call.Object)) {
				c.breachf("failover", "lease %s was forgotten, and is there: %v", call.Object, call)
			}
			if there[call.CommandID] && f.forgot(command(call.CommandID)) {
				c.breachf("failover", "command %s was forgotten, and is there: %v", call.CommandID, call)
			}
		}
		if !slices.ContainsFunc(c.Calls, func(call Call) bool {
			return call.BeginAt > f.ToAt && (call.CommandID != "" || call.Op == OpCreate && call.Object != "")
		}) {
			c.breachf("failover", "nothing was accepted any more after %v", f)
		}
	}
}

// between says whether a failover lies between two effects. A hook that was begun under the old primary may act for as long as hooks last.
func (h History) between(first, second target.Effect, f Failover) bool {
	return time.Unix(0, first.At).Before(h.Begin.Add(f.ToAt+hookTimeout)) && time.Unix(0, second.At).After(h.Begin.Add(f.FromAt))
}

// failedOver says whether any failover does.
func (h History) failedOver(first, second target.Effect) bool {
	return slices.ContainsFunc(h.Failovers, func(f Failover) bool { return h.between(first, second, f) })
}

// undone says whether what an effect did was forgotten before another: there was a failover between the two, and what had come of the
// first was forgotten in it.
func (h History) undone(first, second target.Effect, has in) bool {
	return slices.ContainsFunc(h.Failovers, func(f Failover) bool { return h.between(first, second, f) && f.forgot(has) })
}

// fallsBack returns the failovers as calls about a lease: each may take it back to where the promoted replica had it, at least.
func (c *checker) fallsBack(id string) (calls []Call) {
	for _, f := range c.Failovers {
		call := Call{Op: opForget, Object: id, BeginAt: f.FromAt, EndAt: f.ToAt, floor: absent}
		if f.New.hasLease(id) {
			call.floor = kept
			if slices.ContainsFunc(c.Calls, func(call Call) bool {
				return call.Op == OpRelease && call.Object == id && f.New.Commands[call.CommandID]
			}) {
				call.floor = releasing
			}
		}
		calls = append(calls, call)
	}
	return calls
}

// reigns returns the looks of clients in parts: those before the first failover, those between it and the second, and so on. Whom those in
// the middle of a failover spoke to is not known.
func (c *checker) reigns(looks []Call) (parts [][]Call) {
	from := time.Duration(-1)
	for i := range len(c.Failovers) + 1 {
		to := time.Duration(1<<63 - 1)
		if i < len(c.Failovers) {
			to = c.Failovers[i].FromAt
		}
		parts = append(parts, slices.DeleteFunc(slices.Clone(looks), func(call Call) bool { return call.BeginAt <= from || call.EndAt >= to }))
		if i < len(c.Failovers) {
			from = c.Failovers[i].ToAt
		}
	}
	return parts
}
