package store

import (
	"errors"
	goflag "flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

var seedFlag = goflag.Uint64("seed", 0, "seed of the random tests; 0 = a fresh one")

func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	var list []uint64
	for range n {
		list = append(list, rand.Uint64N(1e12)+1)
	}
	return list
}

// walk is a random walk of senders and claimers on one object, next to what must come of it.
type walk struct {
	*env
	rnd   *rand.Rand
	ref   model.Ref
	sent  []string
	done  int // how many of sent were consumed
	pens  []*pen
	steps []string
}

// pen is a claim, and the commands that it read and has not consumed. The last one taken is good; all others are stale.
type pen struct {
	*Claim
	left []*model.Command
}

func (w *walk) latest(p *pen) bool { return p == w.pens[len(w.pens)-1] }

func (w *walk) pick() *pen {
	if w.rnd.IntN(2) == 0 {
		return w.pens[len(w.pens)-1]
	}
	return w.pens[w.rnd.IntN(len(w.pens))]
}

func (w *walk) names() []model.CommandName {
	return slices.DeleteFunc(model.CommandNames(), func(n model.CommandName) bool { return !n.For(w.ref.Kind) })
}

// step does one random thing and checks what came of it.
func (w *walk) step() {
	w.Helper()
	if len(w.pens) == 0 || w.rnd.IntN(6) == 0 {
		w.sayf("claim")
		c := w.claim(w.ref)
		w.pens = append(w.pens, &pen{c, c.Commands})
		w.wantRead(c)
		return
	}
	switch p := w.pick(); w.rnd.IntN(8) {
	case 0, 1, 2:
		id := fmt.Sprintf("c%03d", len(w.sent))
		w.sayf("send %s", id)
		w.sent = append(w.sent, id)
		w.send(w.ref, id, w.names()[w.rnd.IntN(len(w.names()))])
	case 3:
		if len(w.sent) > 0 {
			id := w.sent[w.rnd.IntN(len(w.sent))]
			w.sayf("send %s again", id)
			w.wantNoChange(func() { w.send(w.ref, id, model.CommandRelease) })
		}
	case 4, 5:
		w.apply(p)
	case 6:
		w.sayf("finish, touch, latest %t", w.latest(p))
		_, finishErr := w.Finish(w.ctx, p.Claim, start)
		w.wantStale(p, finishErr)
		w.wantStale(p, w.Touch(w.ctx, p.Claim))
	case 7:
		w.sayf("time passes, busy, due")
		w.clock.advance(time.Duration(w.rnd.IntN(12_000)) * time.Millisecond)
		_, err := w.Busy(w.ctx, w.ref, fmt.Sprint(w.rnd.Uint64()), time.Second)
		w.must(err)
		_, _, err = w.Due(w.ctx, w.ns, 10)
		w.must(err)
	}
}

func (w *walk) sayf(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *walk) wantStale(p *pen, err error) {
	w.Helper()
	if stale := errors.Is(err, model.ErrStaleWriter); stale == w.latest(p) || !stale && err != nil {
		w.Errorf("error %v with the latest pen %t", err, w.latest(p))
	}
}

func (w *walk) wantRead(c *Claim) {
	w.Helper()
	var got []string
	for _, cmd := range c.Commands {
		got = append(got, cmd.ID)
	}
	if !slices.Equal(w.sent[w.done:], got) {
		w.Errorf("claimed %v, want %v", got, w.sent[w.done:])
	}
}

// apply consumes some of what the pen read, and now and then sends the write again.
func (w *walk) apply(p *pen) {
	w.Helper()
	n := w.rnd.IntN(len(p.left) + 1)
	st := Step{Finish: w.rnd.IntN(3) == 0, LookAgain: start.Add(time.Hour)}
	outcomes := []model.Outcome{model.OutcomeRefused, model.OutcomeSuperseded}
	for _, cmd := range p.left[:n] {
		st.Consume = append(st.Consume, Consumption{Command: cmd, Outcome: outcomes[w.rnd.IntN(2)]})
	}
	w.sayf("apply %d of %d, latest %t", n, len(p.left), w.latest(p))
	before, claim := w.dump(), *p.Claim
	err := w.applyStep(p.Claim, st)
	w.wantStale(p, err)
	if err != nil {
		if diff := cmp.Diff(before, w.dump()); diff != "" {
			w.Errorf("a stale write changed (-before +after):\n%s", diff)
		}
		return
	}
	p.left = p.left[n:]
	w.done += n
	if w.rnd.IntN(3) == 0 {
		w.sayf("the same again")
		w.wantNoChange(func() { w.must(w.applyStep(&claim, st)) })
	}
}

func (w *walk) applyStep(c *Claim, st Step) error {
	if c.Lease != nil {
		_, err := w.ApplyLease(w.ctx, c, LeaseStep{Step: st})
		return err
	}
	_, err := w.ApplyResource(w.ctx, c, ResourceStep{Step: st})
	return err
}

// check compares what is stored with what must be.
func (w *walk) check() {
	w.Helper()
	history, err := w.rdb.LRange(w.ctx, historyKey(w.ref), 0, -1).Result()
	w.must(err)
	waiting, err := w.rdb.LRange(w.ctx, commandsKey(w.ref), 0, -1).Result()
	w.must(err)
	if !slices.Equal(history, w.sent[:w.done]) || !slices.Equal(waiting, w.sent[w.done:]) {
		w.Errorf("consumed %v, waiting %v; sent %v, of which %d were consumed", history, waiting, w.sent, w.done)
	}
	w.wantVerified()
}

// TestRandomInterleavings lets senders and claimers with stale pens loose on one object: every command is consumed exactly once,
// in the order it was sent, and everything true that must be stays true after each step.
func TestRandomInterleavings(t *testing.T) {
	t.Parallel()
	const walks, length = 16, 60
	for i, seed := range seeds(t, walks) {
		kind := model.Kinds()[seed%2]
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			w := &walk{env: e, rnd: rand.New(rand.NewPCG(seed, 0)), ref: e.leaseIn("l1", model.LeaseActive)}
			if kind == model.KindResource {
				w.ref = e.resourceRef("r-l1")
			}
			for range length {
				if w.step(); !t.Failed() {
					w.check()
				}
				if t.Failed() {
					t.Fatalf("go test -run %s -seed %d; the steps were\n%s", strings.Split(t.Name(), "/")[0], seed, strings.Join(w.steps, "\n"))
				}
			}
			c := w.claim(w.ref)
			w.wantRead(c)
			w.must(w.applyStep(c, Step{Consume: consumed(c, model.OutcomeRefused), Finish: true}))
			w.done = len(w.sent)
			w.check()
		})
	}
}

// TestRacingSendersAndClaimers is the same with goroutines: the interleaving is the machine's.
func TestRacingSendersAndClaimers(t *testing.T) {
	t.Parallel()
	for _, kind := range model.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ref := e.leaseIn("l1", model.LeaseActive)
			if kind == model.KindResource {
				ref = e.resourceRef("r-l1")
			}
			const senders, each, claimers = 4, 60, 4
			var sending, claiming sync.WaitGroup
			for s := range senders {
				sending.Go(func() {
					for i := range each {
						e.send(ref, fmt.Sprintf("%d-%03d", s, i), model.CommandExtend)
					}
				})
			}
			var stop atomic.Bool
			var stale atomic.Int64
			for i := range claimers {
				claiming.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(i), 0))
					w := &walk{env: e}
					for !stop.Load() {
						c, err := e.Claim(e.ctx, ref, fmt.Sprintf("w%d", i))
						if err != nil {
							t.Error(err)
							return
						}
						n := rnd.IntN(len(c.Commands) + 1)
						err = w.applyStep(c, Step{Consume: consumed(c, model.OutcomeRefused)[:n]})
						if errors.Is(err, model.ErrStaleWriter) {
							stale.Add(1)
						} else if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			sending.Wait()
			stop.Store(true)
			claiming.Wait()
			c := e.claim(ref)
			if err := (&walk{env: e}).applyStep(c, Step{Consume: consumed(c, model.OutcomeRefused), Finish: true}); err != nil {
				t.Fatal(err)
			}
			history, err := e.rdb.LRange(e.ctx, historyKey(ref), 0, -1).Result()
			e.must(err)
			next := map[string]int{}
			for _, cid := range history {
				sender, nr, _ := strings.Cut(cid, "-")
				if want := fmt.Sprintf("%03d", next[sender]); nr != want {
					t.Fatalf("of sender %s, %s was consumed where %s should be", sender, nr, want)
				}
				next[sender]++
			}
			for sender, n := range next {
				if n != each {
					t.Errorf("of sender %s, %d commands were consumed, want %d", sender, n, each)
				}
			}
			if len(next) != senders {
				t.Errorf("commands of %v, want of %d senders", slices.Collect(maps.Keys(next)), senders)
			}
			// The order of the fences is that of the history.
			var last int64
			for after := ""; ; {
				page, err := e.Commands(e.ctx, ref, 100, after)
				e.must(err)
				for _, cmd := range page.Items {
					if cmd.Fence < last {
						t.Errorf("%s was consumed under fence %d, behind one under %d", cmd.ID, cmd.Fence, last)
					}
					last = cmd.Fence
				}
				if after = page.Next; after == "" {
					break
				}
			}
			e.wantVerified()
			t.Logf("%d stale writes were refused", stale.Load())
		})
	}
}

// TestRacingLeasesNeverShareAPlace lets many leases race for few resources, with a slot lock per resource and place.
func TestRacingLeasesNeverShareAPlace(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const leases, resources, capacity = 24, 3, 2
	for i := range resources {
		e.resource(fmt.Sprintf("r%d", i), spec{capacity: capacity})
	}
	var wg sync.WaitGroup
	var acquired atomic.Int64
	for i := range leases {
		id := fmt.Sprintf("l%02d", i)
		e.createLease(id, model.NewLease{})
		wg.Go(func() {
			for r := range resources {
				c, err := e.Claim(e.ctx, e.leaseRef(id), "w1")
				if err != nil {
					t.Error(err)
					return
				}
				st := e.acquireStep(fmt.Sprintf("r%d", r), fmt.Sprintf("r%d:%d", r, i%capacity))
				switch _, err = e.ApplyLease(e.ctx, c, st); {
				case err == nil:
					acquired.Add(1)
					return
				case !errors.Is(err, model.ErrResourceUnusable) && !errors.Is(err, model.ErrSlotHeld):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := acquired.Load(); n != resources*capacity {
		t.Errorf("%d leases got a place, want %d", n, resources*capacity)
	}
	e.wantVerified()
}
