//go:build unix

package torture

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Fault is one kind of thing that goes wrong.
type Fault string

// The faults.
const (
	// KillWorker kills a worker with SIGKILL and starts another.
	KillWorker Fault = "kill-worker"
	// KillAPI kills the API with SIGKILL and starts it again.
	KillAPI Fault = "kill-api"
	// KillReply lets the API do what it is asked, drops the reply and kills the API with SIGKILL.
	KillReply Fault = "kill-reply"
	// Stop stops a worker with SIGSTOP for longer than its locks last, then lets it go on.
	Stop Fault = "stop"
	// KillRedis kills Redis with SIGKILL and starts it again on its append-only file.
	KillRedis Fault = "kill-redis"
	// KillLocks kills one of the servers that hold the object locks, which forgets them, and starts it again.
	KillLocks Fault = "kill-locks"
	// Slow delays what passes between the processes and Redis.
	Slow Fault = "slow"
	// Cut cuts all connections to Redis, now and again.
	Cut Fault = "cut"
	// Drop drops replies of Redis, and of the API, after the command has run, and cuts the connection.
	Drop Fault = "drop"
	// FlushScripts makes Redis forget its scripts.
	FlushScripts Fault = "flush-scripts"
	// LoseLocks deletes object locks at random.
	LoseLocks Fault = "lose-locks"
	// LoseTasks deletes all that asynq knows.
	LoseTasks Fault = "lose-tasks"
	// Clock steps the clock by which workers trust their locks.
	Clock Fault = "clock"
	// Hooks makes hooks hang for longer than their timeout, before or after they have done their work, or say that they failed when they did it.
	Hooks Fault = "hooks"
	// Full makes Redis refuse writes, because its memory is full.
	Full Fault = "full"
	// FailOver kills the primary with SIGKILL while its replica is in step, and starts it again when the Sentinels have promoted the replica.
	FailOver Fault = "failover"
	// FailOverBehind is FailOver of a primary whose replica was cut off a while before.
	FailOverBehind Fault = "failover-behind"
	// FailOverSplit keeps the Sentinels and the replica from reaching the primary, which clients still do until they hear of another one, and
	// lets it come back as a replica.
	FailOverSplit Fault = "failover-split"
)

// Faults returns all faults that happen to a system on one Redis.
func Faults() []Fault {
	return []Fault{
		KillWorker, KillAPI, KillReply, Stop, KillRedis, Slow, Cut, Drop, FlushScripts, LoseLocks, LoseTasks, Clock, Hooks, Full,
		KillLocks,
	}
}

// Failovers returns the faults that need Sentinels: with one of them, a system is on a primary, a replica and three Sentinels.
func Failovers() []Fault { return []Fault{FailOver, FailOverBehind, FailOverSplit} }

// onOneRedis are the faults that a system with Sentinels cannot have: Redis is killed by the failovers alone, nothing stands between
// it and the processes, and nobody could say under which primary a hook that hangs was begun.
var onOneRedis = []Fault{KillRedis, Slow, Cut, Drop, Full, Hooks}

// haveFailover says whether there is one among the faults.
func haveFailover(faults []Fault) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return slices.Contains(Failovers(), f) })
}

// ParseFaults reads a list such as "stop,cut"; "all" and "" are all of one Redis, "none" is none.
func ParseFaults(s string) ([]Fault, error) {
	switch s {
	case "", "all":
		return Faults(), nil
	case "none":
		return nil, nil
	}
	var list []Fault
	for name := range strings.SplitSeq(s, ",") {
		if known := slices.Concat(Faults(), Failovers()); !slices.Contains(known, Fault(name)) {
			return nil, fmt.Errorf("%q is not one of the faults %q", name, known)
		}
		list = append(list, Fault(name))
	}
	for _, f := range onOneRedis {
		if haveFailover(list) && slices.Contains(list, f) {
			return nil, fmt.Errorf("%s is a fault of a system on one Redis: it does not go with %q", f, Failovers())
		}
	}
	return list, nil
}

// An Event is a fault at its time.
type Event struct {
	// At is when, from the beginning of the run.
	At time.Duration
	// For is how long it lasts, or how long the victim stays down.
	For   time.Duration
	Fault Fault
	// Pick chooses among victims, or variants of the fault; Seed is for what else is left to chance within it.
	Pick int
	Seed uint64
}

func (e Event) String() string {
	return fmt.Sprintf("%7.3fs %-15s for %5.3fs pick %d", e.At.Seconds(), e.Fault, e.For.Seconds(), e.Pick)
}

// Shape is how faults of one kind come.
type shape struct {
	// every is the mean time between two of them; for each and from min to max.
	every, minFor, maxFor time.Duration
}

// shapes are made for locks that last for [lockTTL].
var shapes = map[Fault]shape{
	KillWorker:   {700 * time.Millisecond, 0, 500 * time.Millisecond},
	KillAPI:      {1500 * time.Millisecond, 0, 400 * time.Millisecond},
	KillReply:    {1500 * time.Millisecond, 0, 400 * time.Millisecond},
	Stop:         {800 * time.Millisecond, lockTTL * 6 / 5, lockTTL * 6},
	KillRedis:    {1500 * time.Millisecond, 0, 800 * time.Millisecond},
	KillLocks:    {700 * time.Millisecond, 0, 500 * time.Millisecond},
	Slow:         {time.Second, 200 * time.Millisecond, time.Second},
	Cut:          {300 * time.Millisecond, 0, 200 * time.Millisecond},
	Drop:         {500 * time.Millisecond, 200 * time.Millisecond, time.Second},
	FlushScripts: {200 * time.Millisecond, 0, 0},
	LoseLocks:    {200 * time.Millisecond, 0, 100 * time.Millisecond},
	LoseTasks:    {200 * time.Millisecond, 0, 0},
	Clock:        {400 * time.Millisecond, 0, time.Second},
	Hooks:        {1500 * time.Millisecond, 200 * time.Millisecond, 1200 * time.Millisecond},
	Full:         {time.Second, 200 * time.Millisecond, 800 * time.Millisecond},

	FailOver:       {2 * time.Second, 300 * time.Millisecond, 1500 * time.Millisecond},
	FailOverBehind: {2 * time.Second, 600 * time.Millisecond, 1500 * time.Millisecond},
	FailOverSplit:  {2 * time.Second, 300 * time.Millisecond, 1500 * time.Millisecond},
}

// rejoin is about how long it takes from a failover until the Sentinels have made the old primary a replica.
const rejoin = 8 * time.Second

// Plan returns the faults of a run in the order of time. It depends on its arguments alone. No fault outlasts the run. More kinds
// of faults come less often each, so that work gets done between them.
func Plan(seed uint64, faults []Fault, duration time.Duration) []Event {
	var plan []Event
	for i, fault := range slices.Concat(Faults(), Failovers()) {
		if !slices.Contains(faults, fault) {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
		sh := shapes[fault]
		rarer := 1 + float64(len(faults)-1)/4
		at := time.Duration(0)
		for {
			at += time.Duration(rarer * float64(sh.every) * (0.25 + 1.5*rng.Float64()))
			e := Event{
				At: at.Round(time.Millisecond), For: (sh.minFor + time.Duration(rng.Float64()*float64(sh.maxFor-sh.minFor))).Round(time.Millisecond),
				Fault: fault, Pick: rng.IntN(1000), Seed: rng.Uint64(),
			}
			if e.At+e.For >= duration {
				break
			}
			plan = append(plan, e)
			if fault != Stop { // several workers may be stopped at once
				at += e.For
			}
			if slices.Contains(Failovers(), fault) {
				at += rejoin
			}
		}
	}
	slices.SortStableFunc(plan, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return plan
}
