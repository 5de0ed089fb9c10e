//go:build unix

package torture

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchTime bounds the search for an order of one object's calls. The searches take milliseconds.
const searchTime = 20 * time.Second

// The phases of a lease, as a register that only goes on.
const (
	absent = iota
	// kept: nobody has said that it is to go.
	kept
	// releasing: somebody has, and it is not done yet.
	releasing
	// ending: released or broken.
	ending
	destroyed
)

// phaseOf is what a read shows.
func phaseOf(l Lease) int {
	switch {
	case l.Status == "destroyed":
		return destroyed
	case l.Status == "released" || l.Status == "broken":
		return ending
	case l.Releasing:
		return releasing
	}
	return kept
}

// register is the model of one lease. Reads show its phase. It may go on by itself (it expires, its resource goes away, an update runs),
// and never back, except at a failover; an accepted release takes it to releasing, at least.
var register = porcupine.Model{
	Init: func() any { return absent },
	Step: func(state, input, _ any) (bool, any) {
		phase, _ := state.(int)
		call, _ := input.(Call)
		switch call.Op {
		case OpCreate:
			return phase == absent, kept
		case opForget:
			return phase != absent || call.floor == absent, call.floor
		case OpRead:
			if call.Status == http.StatusNotFound {
				return phase == absent, phase
			}
			shown := phaseOf(call.Lease)
			return phase != absent && shown >= phase, shown
		case OpRelease, OpCommand:
			if call.Status == http.StatusNotFound {
				return phase == absent, phase
			}
			if call.CommandID == "" {
				// Refused because it is too late.
				return phase != absent, max(phase, ending)
			}
			if call.Op == OpRelease {
				return phase != absent && phase != destroyed, max(phase, releasing)
			}
			return phase != absent && phase != destroyed, phase
		}
		return false, state
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
}

// checkRegisters: there is an order of the calls about each lease, each within the time that it took, in which every answer is right.
func (c *checker) checkRegisters() {
	calls := map[string][]porcupine.Operation{}
	for _, call := range c.Calls {
		if _, ok := c.leases[call.Object]; !ok && !c.excused(lease(call.Object)) || call.Status == 0 {
			// What nobody knows the outcome of may have taken the lease on, as it may go by itself.
			continue
		}
		calls[call.Object] = append(calls[call.Object], porcupine.Operation{Input: call, Call: int64(call.BeginAt), Return: int64(call.EndAt)})
	}
	for _, id := range slices.Sorted(maps.Keys(calls)) {
		if !slices.ContainsFunc(calls[id], func(op porcupine.Operation) bool { return opOf(op) == OpCreate }) {
			// It was made by a request whose answer nobody got.
			calls[id] = append(calls[id], porcupine.Operation{Input: Call{Op: OpCreate, Object: id}, Return: math.MaxInt64})
		}
		for _, call := range c.fallsBack(id) {
			calls[id] = append(calls[id], porcupine.Operation{Input: call, Call: int64(call.BeginAt), Return: int64(call.EndAt)})
		}
		c.search("register", "lease "+id, register, calls[id])
	}
}

func opOf(op porcupine.Operation) Op {
	call, _ := op.Input.(Call)
	return call.Op
}

// search looks for an order of calls that the model allows.
func (c *checker) search(check, what string, model porcupine.Model, ops []porcupine.Operation) {
	switch porcupine.CheckOperationsTimeout(model, ops, searchTime) {
	case porcupine.Ok:
	case porcupine.Unknown:
		c.breachf(check, "%s: no verdict within %v on %d calls", what, searchTime, len(ops))
	case porcupine.Illegal:
		var text strings.Builder
		slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		for _, op := range ops[:min(len(ops), 60)] {
			fmt.Fprintf(&text, "\n  %v to %v: %s", time.Duration(op.Call), time.Duration(op.Return), model.DescribeOperation(op.Input, nil))
		}
		c.breachf(check, "%s: no order explains the answers:%s", what, &text)
	}
}

// hold is a lease that takes or frees its resource.
type hold struct {
	lease string
	takes bool
}

// mutex is the model of a resource that takes one lease.
var mutex = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		holder, _ := state.(string)
		h, _ := input.(hold)
		if h.takes {
			return holder == "", h.lease
		}
		return holder == h.lease, ""
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// checkMutexes: by what clients saw alone, each resource had one holder at a time. A lease took its resource at some time between the
// last look at which it was not active and the first at which it was, and freed it between the last look at which it was active and
// the first at which it was destroyed. A failover may undo what was seen, so that only looks between two of them are held together.
func (c *checker) checkMutexes() {
	for _, looks := range c.reigns(c.Calls) {
		c.checkMutexesBy(looks)
	}
}

func (c *checker) checkMutexesBy(calls []Call) {
	type seen struct {
		takes, frees porcupine.Operation
		resource     string
	}
	looks := map[string]*seen{}
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(a.BeginAt, b.BeginAt) })
	for _, call := range calls {
		if call.Op != OpCreate && call.Op != OpRead || call.Status == 0 || call.Status == http.StatusNotFound {
			continue
		}
		s := looks[call.Object]
		if s == nil {
			s = &seen{}
			// One that is seen first as active may have taken its resource long ago.
			s.takes = porcupine.Operation{Input: hold{call.Object, true}}
			s.frees = porcupine.Operation{Input: hold{call.Object, false}, Return: math.MaxInt64}
			looks[call.Object] = s
		}
		switch {
		case call.Lease.Status == "active":
			if s.resource == "" {
				s.resource, s.takes.Return = call.Lease.Resource, int64(call.EndAt)
			}
			s.takes.Return = min(s.takes.Return, int64(call.EndAt))
			s.frees.Call = max(s.frees.Call, int64(call.BeginAt))
		case call.Lease.Status == "destroyed":
			s.frees.Return = min(s.frees.Return, int64(call.EndAt))
		case s.resource == "":
			s.takes.Call = max(s.takes.Call, int64(call.BeginAt))
		}
	}
	ops := map[string][]porcupine.Operation{}
	for _, id := range slices.Sorted(maps.Keys(looks)) {
		if s := looks[id]; s.resource != "" && c.resources[s.resource].Capacity <= 1 {
			ops[s.resource] = append(ops[s.resource], s.takes, s.frees)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ops)) {
		c.search("mutex", "resource "+id, mutex, ops[id])
	}
}
