//go:build unix

package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"drydock/proof/torture/target"
)

// Config says what a run is.
type Config struct {
	// Seed is of the faults, and of what the clients do.
	Seed uint64
	// Faults are those that may happen.
	Faults []Fault
	// For is how long load and faults go on.
	For time.Duration
	// Binary is drydock's, Hook that of proof/torture/hook, alone in its folder.
	Binary, Hook string
	// Durability is the API's; default memory. "replicas:1" needs a failover among the faults: without, there is no replica.
	Durability string
	// LockNodes keeps the object locks on three servers of their own, instead of on the data Redis.
	LockNodes bool
	// LongLocks gives workers locks that last so long that they do not notice when one is lost: then there are two holders, and only the
	// guard in front of each write is left.
	LongLocks bool
	// Dir is where the run makes its own folder.
	Dir string
	// Clients is how many take and release leases at once; default 12.
	Clients int
	// Settle is how long after the faults everything may take to be done; default two minutes.
	Settle time.Duration
	// Logf says what happens, if set.
	Logf func(format string, args ...any)
}

// Report is what came of a run.
type Report struct {
	Plan []Event
	// Faults counts those that happened.
	Faults map[Fault]int
	// Requests counts those sent, the repeated ones too; Calls those of clients that were booked; Commands the accepted ones; Replies those
	// that were dropped.
	Requests, Calls, Leases, Commands, Effects, Refused, Repeats, Replies int
	// Failovers are those that happened. Unknown counts the answers that left the outcome open, LostLeases and LostCommands what was accepted and
	// is not there in the end.
	Failovers                         []Failover
	Unknown, LostLeases, LostCommands int
	// Settled is how long it took until everything was done.
	Settled    time.Duration
	Violations []Violation
	// Logs are the last words of the processes, when there are violations.
	Logs string
}

func (r *Report) String() string {
	var faults []string
	for _, f := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", f, r.Faults[f]))
	}
	text := fmt.Sprintf("%d requests, %d calls, %d leases, %d commands accepted, %d effects (%d repeated, %d refused), %d replies dropped, "+
		"settled in %v; faults: %s", r.Requests, r.Calls, r.Leases, r.Commands, r.Effects, r.Repeats, r.Refused, r.Replies,
		r.Settled.Round(time.Millisecond), strings.Join(faults, ", "))
	if len(r.Failovers) > 0 {
		text += fmt.Sprintf("; of what was accepted, %d leases and %d commands are lost; %d answers left the outcome open", r.LostLeases, r.LostCommands,
			r.Unknown)
	}
	return text
}

// afterFailover is how long the load goes on after the last failover.
const afterFailover = 2 * time.Second

// Run runs one system under load and faults, and checks its history. The error says that the run itself failed; what the history shows is
// in the report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Clients == 0 {
		cfg.Clients = 12
	}
	if cfg.Settle == 0 {
		cfg.Settle = 2 * time.Minute
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	report := Report{Plan: Plan(cfg.Seed, cfg.Faults, cfg.For)}
	s, err := startSystem(ctx, cfg)
	if err != nil {
		return report, err
	}
	defer s.close()

	b := &book{begin: time.Now(), mayBeGone: s.watched != nil}
	l := startLoad(ctx, s, b)
	c := newChaos(s, b)
	err = c.run(ctx, report.Plan)
	pause(ctx, time.Until(b.begin.Add(cfg.For)))
	if len(c.failovers) > 0 {
		pause(ctx, afterFailover)
	}
	l.stop(cfg.Settle / 2)
	report.Faults = c.counts
	if err != nil {
		report.Logs = s.logs()
		return report, fmt.Errorf("faults: %w", err)
	}
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}

	history, err := s.settle(ctx, b, &report)
	if err != nil {
		return report, err
	}
	history.Begin, history.Failovers, history.MayForget = b.begin, c.failovers, s.watched != nil && cmp.Or(cfg.Durability, "memory") == "memory"
	report.Violations = append(report.Violations, Check(history)...)
	report.Failovers, report.Unknown = c.failovers, int(b.unknown.Load())
	report.LostLeases, report.LostCommands = Lost(history)
	for _, odd := range b.odd {
		report.Violations = append(report.Violations, Violation{"answers", odd})
	}
	for _, odd := range l.errs {
		report.Violations = append(report.Violations, Violation{"answers", odd.Error()})
	}
	for _, p := range s.processes() {
		for _, early := range p.early {
			report.Violations = append(report.Violations, Violation{"processes", early})
		}
		for _, bad := range p.log.wrong() {
			report.Violations = append(report.Violations, Violation{"processes", p.name + " says " + bad})
		}
	}
	if err := c.onlyOurs(ctx); err != nil {
		return report, err
	}
	if err := s.sound(ctx); err != nil {
		report.Violations = append(report.Violations, Violation{"doctor", err.Error()})
	}
	report.count(b, history)
	for _, p := range s.proxies() {
		report.Replies += p.dropped
	}
	if len(report.Violations) > 0 {
		report.Logs = s.logs()
	}
	return report, nil
}

func (r *Report) count(b *book, h History) {
	r.Requests, r.Calls, r.Leases, r.Effects = int(b.sent.Load()), len(h.Calls), len(h.Leases), len(h.Effects)
	for _, c := range h.Calls {
		if c.CommandID != "" {
			r.Commands++
		}
	}
	keys := map[string]bool{}
	for _, e := range h.Effects {
		switch {
		case e.Refused != "":
			r.Refused++
		case keys[e.Key]:
			r.Repeats++
		}
		keys[e.Key] = true
	}
}

// settle releases what is left, waits until everything is done, and reads the end of the history. What does not come in time is in
// the history as it is then.
func (s *system) settle(ctx context.Context, b *book, report *Report) (History, error) {
	begin := time.Now()
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Settle)
	defer cancel()
	u := newUser("last", "http://"+s.toAPI.Addr(), b, rand.New(rand.NewPCG(s.cfg.Seed, 1)))
	defer u.close()
	var h History
	for first := true; ; first = false {
		var err error
		if h, err = s.read(ctx, u); err == nil {
			var left []string
			for _, l := range h.Leases {
				if l.Status == "destroyed" {
					continue
				}
				left = append(left, "lease "+l.ID)
				if first {
					if _, err := u.release(bounded, l.ID); err != nil {
						return h, err
					}
				}
			}
			left = append(left, waiting(h)...)
			if len(left) == 0 {
				break
			}
			if bounded.Err() != nil {
				s.explain(ctx, u, left)
				break
			}
		} else if bounded.Err() != nil {
			return h, fmt.Errorf("read what came of it: %w", err)
		}
		pause(bounded, 200*time.Millisecond)
	}
	report.Settled = time.Since(begin)
	if slices.Contains(s.cfg.Faults, Hooks) {
		// What hung when its worker was killed goes on now, long after others have done its work.
		pause(ctx, target.Hangs+time.Second)
	}
	b.mu.Lock()
	h.Calls = slices.Clone(b.calls)
	b.mu.Unlock()
	var err error
	h.Effects, err = s.target.Effects()
	return h, err
}

// explain says what is known of objects that are not done in time.
func (s *system) explain(ctx context.Context, u *user, left []string) {
	for _, what := range left {
		kind, id, _ := strings.Cut(what, " ")
		s.cfg.Logf("not done: %s", what)
		if kind == "command" {
			continue
		}
		object := "/v1/" + kind + "s/" + id
		for _, path := range []string{object, object + "/logs"} {
			a, err := u.do(ctx, http.MethodGet, path, "")
			s.cfg.Logf("GET %s = %d %s %v", path, a.status, a.body, err)
		}
		score, err := s.direct.ZScore(ctx, "drydock:{default}:wake", kind+":"+id).Result()
		s.cfg.Logf("its time in the wake index is in %v (%v)", time.Until(time.UnixMilli(int64(score))), err)
	}
}

// waiting returns the resources that are not at rest, and the commands that nobody has consumed.
func waiting(h History) (left []string) {
	for _, r := range h.Resources {
		if !r.rests() {
			left = append(left, "resource "+r.ID)
		}
	}
	for id, commands := range h.Commands {
		for _, c := range commands {
			if c.Outcome == "" {
				left = append(left, "command "+c.ID+" of "+id)
			}
		}
	}
	return left
}

// read reads all that the API has.
func (s *system) read(ctx context.Context, u *user) (h History, err error) {
	if h.Leases, err = list[Lease](ctx, u, "/v1/leases"); err != nil {
		return h, err
	}
	if h.Resources, err = list[Resource](ctx, u, "/v1/resources"); err != nil {
		return h, err
	}
	h.Commands = map[string][]Command{}
	var paths []string
	ids := map[string]string{}
	for _, l := range h.Leases {
		paths = append(paths, "/v1/leases/"+l.ID+"/commands")
		ids[paths[len(paths)-1]] = l.ID
	}
	for _, r := range h.Resources {
		paths = append(paths, "/v1/resources/"+r.ID+"/commands")
		ids[paths[len(paths)-1]] = r.ID
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	next := make(chan string)
	for range 8 {
		wg.Go(func() {
			for path := range next {
				commands, err := list[Command](ctx, u, path)
				mu.Lock()
				h.Commands[ids[path]] = commands
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	for _, path := range paths {
		next <- path
	}
	close(next)
	wg.Wait()
	return h, errors.Join(errs...)
}
