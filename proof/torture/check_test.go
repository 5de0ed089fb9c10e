//go:build unix

package torture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drydock/proof/torture/target"
)

var epoch = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// at is a time of day, in milliseconds of the run.
func at(ms int) *time.Time {
	t := epoch.Add(time.Duration(ms) * time.Millisecond)
	return &t
}

func since(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }

// good is a history in which nothing is wrong: two leases have one made resource in turn, and the second is released twice. Its slices are
// nobody else's.
func good() History {
	read := func(id, status string, releasing bool, from, to int) Call {
		return Call{
			Op: OpRead, Object: id, BeginAt: since(from), EndAt: since(to), Sent: 1, Status: 200,
			Lease: Lease{ID: id, Type: madeType, Status: status, Releasing: releasing, Resource: "r1"},
		}
	}
	create := func(id, owner string, from, to int) Call {
		return Call{
			Op: OpCreate, Author: owner, Object: id, BeginAt: since(from), EndAt: since(to), Sent: 1, Status: 202,
			Lease: Lease{ID: id, Type: madeType, Status: "pending", Owner: owner},
		}
	}
	release := func(id, author, command string, from, to int) Call {
		return Call{
			Op: OpRelease, Command: "release", Author: author, Object: id, CommandID: command, BeginAt: since(from), EndAt: since(to), Sent: 1, Status: 202,
		}
	}
	command := func(id, author string, sent int, outcome string, fence int64) Command {
		c := Command{ID: id, Command: "release", Author: author, SentAt: *at(sent), ConsumedAt: at(sent + 5), Outcome: outcome, Fence: fence}
		c.Origin.Via = "api"
		return c
	}
	effect := func(step, object string, fence int64, ms int) target.Effect {
		return target.Effect{
			Step: step, Object: object, Resource: "r1", ResourceName: "made-1", Fence: fence, Key: step + "/" + object, Attempt: 1,
			BeginAt: at(ms - 1).UnixNano(), At: at(ms).UnixNano(),
		}
	}
	const lease1, lease2, resource = "default/lease/l1", "default/lease/l2", "default/resource/r1"
	return History{
		Calls: []Call{
			create("l1", "a1", 0, 2), read("l1", "pending", false, 3, 4), read("l1", "active", false, 25, 30),
			create("l2", "a2", 5, 6), read("l2", "pending", false, 26, 27),
			release("l1", "a3", "c1", 31, 33), read("l1", "active", true, 34, 35), read("l1", "destroyed", false, 50, 55),
			read("l2", "active", false, 70, 71), release("l2", "a4", "c2", 80, 81), release("l2", "a5", "c3", 82, 83),
			read("l2", "destroyed", false, 100, 101),
			{Op: OpRelease, Command: "release", Author: "a6", Object: "l2", BeginAt: since(110), EndAt: since(111), Sent: 1, Status: 200},
		},
		Effects: []target.Effect{
			effect(target.StepActivate, resource, 1, 10), effect(target.StepActivateLease, lease1, 2, 20),
			effect(target.StepReleaseLease, lease1, 3, 40), effect(target.StepDestroyLease, lease1, 3, 44),
			effect(target.StepActivateLease, lease2, 2, 60), effect(target.StepActivateLease, lease2, 3, 64),
			effect(target.StepReleaseLease, lease2, 4, 90), effect(target.StepDestroyLease, lease2, 4, 92),
		},
		Leases: []Lease{
			{ID: "l1", Type: madeType, Status: "destroyed", Resource: "r1", Owner: "a1", AcquiredAt: at(15), ActivatedAt: at(22), DestroyedAt: at(46)},
			{ID: "l2", Type: madeType, Status: "destroyed", Resource: "r1", Owner: "a2", AcquiredAt: at(46), ActivatedAt: at(66), DestroyedAt: at(94)},
		},
		Resources: []Resource{{ID: "r1", Name: "made-1", Type: madeType, Status: "active", Capacity: 1, ActivatedAt: at(12)}},
		Commands: map[string][]Command{
			"l1": {command("c1", "a3", 32, "applied", 3)},
			"l2": {command("c2", "a4", 80, "applied", 4), command("c3", "a5", 82, "superseded", 4)},
			"r1": nil,
		},
	}
}

func TestCheckFindsNothingInAGoodHistory(t *testing.T) {
	t.Parallel()
	if found := Check(good()); len(found) > 0 {
		t.Errorf("Check found %q", found)
	}
}

// TestCheckFindsWhatIsWrong breaks the good history in one way each.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*History)
		check string
		text  string
	}{
		{"an accepted command is lost", func(h *History) { h.Commands["l2"] = h.Commands["l2"][:1] }, "consumed once", "accepted command c3 is not in the history"},
		{"an accepted command went to another object", func(h *History) {
			h.Commands["l1"], h.Commands["l2"] = append(h.Commands["l1"], h.Commands["l2"][1]), h.Commands["l2"][:1]
		}, "consumed once", "accepted command c3 is not in the history of l2"},
		{"a command is there twice", func(h *History) { h.Commands["l2"] = append(h.Commands["l2"], h.Commands["l2"][1]) }, "consumed once", "made 2 commands"},
		{"a request that was sent again made two commands", func(h *History) {
			twin := h.Commands["l2"][1]
			twin.ID = "c4"
			h.Commands["l2"] = append(h.Commands["l2"], twin)
		}, "consumed once", "made 2 commands"},
		{"a command that nobody sent", func(h *History) { h.Commands["l1"][0].Author = "nobody" }, "consumed once", "nobody sent"},
		{"a refused request made a command", func(h *History) { h.Calls[9].CommandID, h.Calls[9].Status = "", 409 }, "consumed once", "spoke of no command"},
		{"a command is never consumed", func(h *History) { h.Commands["l2"][1].Outcome = "" }, "stuck", "command c3 (release) of l2 was never consumed"},
		{"commands out of order, by the clients' clocks", func(h *History) {
			slices.Reverse(h.Commands["l2"])
			h.Commands["l2"][0].SentAt, h.Commands["l2"][1].SentAt = *at(1), *at(1)
		}, "order", "c2 stands behind c3, and was answered before that was sent"},
		{"commands out of order, by Redis's clock", func(h *History) { h.Commands["l2"][1].SentAt = *at(79) }, "order", "c3 stands behind c2, which was sent later"},
		{"a command consumed by an older writer", func(h *History) { h.Commands["l2"][1].Fence = 3 }, "order", "with fence 3 after c2 with fence 4"},
		{"a lease is lost", func(h *History) { h.Leases = h.Leases[:1] }, "created", "lease l2 was promised"},
		{"a request that was sent again made two leases", func(h *History) {
			twin := h.Leases[1]
			twin.ID = "l3"
			h.Leases = append(h.Leases, twin)
		}, "created", "one request made the leases"},
		{"a lease that nobody asked for", func(h *History) { h.Leases[1].Owner = "nobody" }, "created", "nobody asked"},
		{"a lease is stuck", func(h *History) { h.Leases[1].Status, h.Leases[1].DestroyedAt = "released", nil }, "stuck", "lease l2 is released"},
		{"a lease is releasing for ever", func(h *History) { h.Leases[1].Releasing = true }, "stuck", "lease l2 is destroyed (releasing: true)"},
		{"a resource is stuck", func(h *History) { h.Resources[0].Status = "pending" }, "stuck", "resource r1 (made-1) is pending"},
		{"a place is not freed", func(h *History) { h.Resources[0].Leases = 1 }, "stuck", "with 1 leases"},
		{"two releases were applied", func(h *History) { h.Commands["l2"][1].Outcome = "applied" }, "applied once", "2 releases were applied"},
		{"no release was applied", func(h *History) { h.Commands["l2"][0].Outcome = "refused" }, "applied once", "0 releases were applied"},
		{"two holders, as stored", func(h *History) { h.Leases[1].AcquiredAt = at(45) }, "one holder", "l1 and l2 had a place on r1 at once"},
		{"an older fence after a newer one", func(h *History) { h.Effects[5].Fence = 1 }, "fence", "activate_lease of default/lease/l2 with fence 1 was done after activate_lease with fence 2"},
		{"a step is done twice by one writer", func(h *History) { h.Effects[5].Fence = 2 }, "fence", "activate_lease of default/lease/l2 was done twice with fence 2"},
		{"an older fence of another step", func(h *History) { h.Effects[6].Fence, h.Effects[7].Fence = 2, 2 }, "fence", "with fence 2 was done after"},
		{"a repeated step has another key", func(h *History) { h.Effects[5].Key = "other" }, "idempotency key", "was done under the keys"},
		{"two steps have one key", func(h *History) { h.Effects[7].Key = h.Effects[6].Key }, "idempotency key", "is the key of"},
		{"a step is done again after its success was stored", func(h *History) { h.Effects[5].At = at(69).UnixNano() }, "late effect", "activate_lease of default/lease/l2 with fence 3"},
		{"a clean-up is done again after the lease was destroyed", func(h *History) { h.Effects[3].At = at(49).UnixNano() }, "late effect", "destroy_lease of default/lease/l1"},
		{"a step that is stored as done never was", func(h *History) { h.Effects = slices.Delete(h.Effects, 3, 4) }, "effect missing", "destroy_lease of l1"},
		{"a step was refused and is stored as done", func(h *History) { h.Effects[1].Refused = "fence 2 is older than 3" }, "effect missing", "activate_lease of l1"},
		{"two holders outside", func(h *History) { h.Effects[3].At = at(61).UnixNano() }, "one holder outside", "it is in use by lease l1"},
		{"a lease is cleaned up under the next holder", func(h *History) {
			again := h.Effects[3]
			again.At = at(62).UnixNano()
			h.Effects = append(h.Effects, again)
		}, "one holder outside", "destroy_lease of default/lease/l1 on made-1 (r1) with fence 3: it is in use by lease l2"},
		{"a resource is destroyed under its holder", func(h *History) {
			h.Effects = append(h.Effects, target.Effect{
				Step: target.StepDestroy, Object: "default/resource/r1", Resource: "r1", ResourceName: "made-1", Fence: 9, Key: "destroy", At: at(65).UnixNano(),
			})
		}, "one holder outside", "destroy of default/resource/r1 on made-1 (r1) with fence 9: it is in use by lease l2"},
		{"two resources are one thing outside", func(h *History) {
			h.Effects = append(h.Effects, target.Effect{
				Step: target.StepActivate, Object: "default/resource/r2", Resource: "r2", ResourceName: "made-1", Fence: 1, Key: "activate", At: at(50).UnixNano(),
			})
		}, "one holder outside", "it still belongs to resource r1"},
		{"a lease is seen unreleased after its release was accepted", func(h *History) { h.Calls[6].Lease.Releasing = false }, "register", "lease l1: no order explains the answers"},
		{"a destroyed lease is seen alive", func(h *History) {
			h.Calls = append(h.Calls, Call{Op: OpRead, Object: "l1", BeginAt: since(60), EndAt: since(61), Status: 200, Lease: Lease{ID: "l1", Status: "active", Releasing: true, Resource: "r1"}})
		}, "register", "lease l1: no order explains the answers"},
		{"a release is refused as too late and the lease is seen alive", func(h *History) {
			h.Calls = append(h.Calls, Call{Op: OpRelease, Author: "a7", Object: "l1", BeginAt: since(26), EndAt: since(27), Status: 200})
			h.Calls = append(h.Calls, Call{Op: OpRead, Object: "l1", BeginAt: since(28), EndAt: since(29), Status: 200, Lease: Lease{ID: "l1", Status: "active", Resource: "r1"}})
		}, "register", "lease l1: no order explains the answers"},
		{"a release is accepted after the end", func(h *History) { h.Calls[5].BeginAt, h.Calls[5].EndAt = since(60), since(61) }, "register", "lease l1: no order explains the answers"},
		{"two holders, as clients saw it", func(h *History) { h.Calls[8].BeginAt, h.Calls[8].EndAt = since(32), since(33) }, "mutex", "resource r1: no order explains the answers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := good()
			tt.spoil(&h)
			found := Check(h)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Check == tt.check && strings.Contains(v.Text, tt.text) }) {
				t.Errorf("Check found %q, want %q that says %q", found, tt.check, tt.text)
			}
		})
	}
}

// TestCheckIsQuietAboutWhatIsAllowed: what faults may do is no violation.
func TestCheckIsQuietAboutWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for name, allow := range map[string]func(*History){
		"a call without an answer made a command": func(h *History) { h.Calls[10].CommandID, h.Calls[10].Status = "", 0 },
		"a call without an answer made none": func(h *History) {
			h.Calls[10].CommandID, h.Calls[10].Status, h.Commands["l2"] = "", 0, h.Commands["l2"][:1]
		},
		"a call without an answer made a lease": func(h *History) { h.Calls[3].Object, h.Calls[3].Status = "", 0 },
		"a release of Drydock's own": func(h *History) {
			h.Commands["l1"] = append(h.Commands["l1"], Command{ID: "c9", Command: "release", Author: "drydock", SentAt: *at(33), Outcome: "superseded", Fence: 3})
		},
		"a refused hook": func(h *History) {
			late := h.Effects[1]
			late.At, late.Refused = at(120).UnixNano(), "fence 2 is older than 3"
			h.Effects = append(h.Effects, late)
		},
		"calls at once, in either order": func(h *History) {
			slices.Reverse(h.Commands["l2"])
			h.Commands["l2"][0].SentAt, h.Commands["l2"][1].SentAt = *at(1), *at(1)
			h.Calls[10].BeginAt = since(80)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := good()
			allow(&h)
			if found := Check(h); len(found) > 0 {
				t.Errorf("Check found %q", found)
			}
		})
	}
}

func ExampleViolation() {
	h := good()
	h.Commands["l2"][1].Outcome = ""
	for _, v := range Check(h) {
		fmt.Println(v)
	}
	// Output: stuck: command c3 (release) of l2 was never consumed
}

// split is the good history with a failover behind its first half: l2, its release and its end were after it, and l1 before. The promoted
// replica had heard of both, and of the one command.
func split() History {
	h := good()
	stock := func() Stock {
		return Stock{
			Leases: map[string]string{"l1": "r1", "l2": ""}, Resources: map[string]bool{"r1": true}, Commands: map[string]bool{"c1": true},
		}
	}
	h.Begin = epoch
	h.Failovers = []Failover{{Fault: FailOver, FromAt: since(56), ToAt: since(58), Old: stock(), New: stock()}}
	return h
}

// forget takes c1 and its traces out of the history: the old primary had it, and the promoted replica did not.
func forget(h *History) {
	delete(h.Failovers[0].New.Commands, "c1")
	h.Commands["l1"] = []Command{{ID: "c9", Command: "release", Author: "drydock", SentAt: *at(59), Outcome: "applied", Fence: 3}}
}

// forgetLease takes l1 and its traces out of the history, in the same way.
func forgetLease(h *History) {
	delete(h.Failovers[0].New.Leases, "l1")
	delete(h.Failovers[0].New.Commands, "c1")
	delete(h.Commands, "l1")
	h.Leases = h.Leases[1:]
}

// seenAgain is a read that shows l1 as it was before its release.
func seenAgain(from, to int) Call {
	return Call{
		Op: OpRead, Object: "l1", BeginAt: since(from), EndAt: since(to), Status: 200, Lease: Lease{ID: "l1", Type: madeType, Status: "active", Resource: "r1"},
	}
}

func TestCheckOfFailovers(t *testing.T) {
	t.Parallel()
	gone := func(id string, from, to int) Call {
		return Call{Op: OpRead, Object: id, BeginAt: since(from), EndAt: since(to), Status: 404}
	}
	const quarter = int64(250 * time.Second) // later than any hook that the old primary's workers began
	for _, tt := range []struct {
		name  string
		spoil func(*History)
		// check and text are what is found; none when the history is as good as can be.
		check, text string
		lost        [2]int
	}{
		{"nothing is forgotten", func(*History) {}, "", "", [2]int{}},
		{"what the replica had not is lost", func(h *History) { h.MayForget = true; forget(h) }, "", "", [2]int{0, 1}},
		{"it is lost, and nothing may be", forget, "consumed once", "accepted command c1 is not in the history", [2]int{0, 1}},
		{"what the replica had is lost", func(h *History) {
			h.MayForget = true
			forget(h)
			h.Failovers[0].New.Commands["c1"] = true
		}, "consumed once", "accepted command c1 is not in the history", [2]int{0, 1}},
		{"what neither had is lost", func(h *History) {
			h.MayForget = true
			forget(h)
			delete(h.Failovers[0].Old.Commands, "c1")
		}, "consumed once", "accepted command c1 is not in the history", [2]int{0, 1}},
		{"what is forgotten is there", func(h *History) {
			h.MayForget = true
			delete(h.Failovers[0].New.Commands, "c1")
		}, "failover", "command c1 was forgotten, and is there", [2]int{}},
		{"a lease is lost", func(h *History) {
			h.MayForget = true
			forgetLease(h)
			h.Calls = append(h.Calls, gone("l1", 60, 61))
		}, "", "", [2]int{1, 1}},
		{"a lease is lost, and was gone before", func(h *History) {
			h.MayForget = true
			forgetLease(h)
			h.Calls = append(h.Calls, gone("l1", 40, 41))
		}, "register", "lease l1: no order", [2]int{1, 1}},
		{"a lease is not found that the replica had", func(h *History) { h.Calls = append(h.Calls, gone("l2", 60, 61)) }, "register", "lease l2: no order", [2]int{}},
		{"a lease falls back to before its release, which was forgotten", func(h *History) {
			h.MayForget = true
			forget(h)
			h.Calls = append(h.Calls, seenAgain(59, 60))
		}, "", "", [2]int{0, 1}},
		{"a lease falls back to before its release, which was not forgotten", func(h *History) { h.Calls = append(h.Calls, seenAgain(59, 60)) }, "register", "lease l1: no order", [2]int{}},
		{"a lease falls back later than the failover", func(h *History) {
			h.MayForget = true
			forget(h)
			ended := seenAgain(59, 60)
			ended.Lease.Status = "destroyed"
			h.Calls = append(h.Calls, ended, seenAgain(61, 62))
		}, "register", "lease l1: no order", [2]int{0, 1}},
		{"a fence is given out again", func(h *History) {
			h.Effects[5].Fence = 2
			h.Effects[4].At, h.Effects[5].At = at(54).UnixNano(), at(60).UnixNano()
		}, "", "", [2]int{}},
		{"a fence is given out again before the failover", func(h *History) {
			h.Effects[5].Fence = 2
			h.Effects[4].At, h.Effects[5].At = at(47).UnixNano(), at(48).UnixNano()
		}, "fence", "was done twice with fence 2", [2]int{}},
		{"a fence is given out again long after the failover", func(h *History) {
			h.Effects[5].Fence = 2
			h.Effects[4].At, h.Effects[5].At = h.Effects[4].At+quarter, h.Effects[5].At+quarter
		}, "fence", "was done twice with fence 2", [2]int{}},
		{"a thing is in use for a lease that was forgotten", func(h *History) {
			h.Effects = slices.Delete(h.Effects, 2, 4) // l1 is not cleaned up
			h.Leases[0].ActivatedAt = nil              // and nobody knows that it was activated
			h.Failovers[0].New.Leases["l1"] = ""
		}, "", "", [2]int{}},
		{"a thing is in use for a lease that the replica knew", func(h *History) {
			h.Effects = slices.Delete(h.Effects, 2, 4)
			h.Leases[0].ActivatedAt = nil
		}, "one holder outside", "it is in use by lease l1", [2]int{}},
		{"nothing is accepted any more", func(h *History) {
			h.Failovers[0].FromAt, h.Failovers[0].ToAt = since(84), since(85)
		}, "failover", "nothing was accepted any more", [2]int{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := split()
			tt.spoil(&h)
			found := Check(h)
			if tt.check == "" && len(found) > 0 {
				t.Errorf("Check found %q", found)
			}
			if tt.check != "" && !slices.ContainsFunc(found, func(v Violation) bool { return v.Check == tt.check && strings.Contains(v.Text, tt.text) }) {
				t.Errorf("Check found %q, want %q that says %q", found, tt.check, tt.text)
			}
			if leases, commands := Lost(h); [2]int{leases, commands} != tt.lost {
				t.Errorf("Lost = %d, %d, want %v", leases, commands, tt.lost)
			}
		})
	}
}
