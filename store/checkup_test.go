package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"drydock/embedded/redistest"
	"drydock/model"
)

func TestCheckup(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.leaseIn("l1", model.LeaseActive)
	pending := e.lease("l2", model.NewLease{})
	c, err := e.Checkup(e.ctx, e.ns)
	e.must(err)
	if len(c.Breaches) != 0 || len(c.Unwoken) != 0 || len(c.Unknown) != 0 || c.Objects != 4 {
		t.Errorf("a sound namespace = %+v, want four objects and nothing else", c)
	}
	e.must(e.rdb.ZRem(e.ctx, wakeKey(e.ns), pending.Member()).Err())
	e.must(e.rdb.HSet(e.ctx, objectKey(e.leaseRef("l1")), "schema", 99).Err())
	c, err = e.Checkup(e.ctx, e.ns)
	e.must(err)
	if !slices.Equal(c.Unwoken, []model.Ref{pending}) || len(c.Breaches) != 1 || c.Unknown[e.leaseRef("l1")] != "99" {
		t.Errorf("Checkup = %+v, want l2 unwoken and l1 of schema 99", c)
	}
	if members, count, err := e.Overdue(e.ctx, e.ns, -time.Hour, 1); err != nil || len(members) != 1 || count < 1 {
		t.Errorf("Overdue = %q, %d, %v", members, count, err)
	}
}

func TestRewake(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	pending := e.lease("l1", model.NewLease{})
	idle := e.leaseIn("l2", model.LeaseActive)
	gone := e.leaseIn("l3", model.LeaseDestroyed)
	e.send(e.leaseIn("l4", model.LeaseActive), "c1", model.CommandRelease)
	e.settle(idle)
	for ref, owes := range map[model.Ref]bool{
		pending: true, idle: false, gone: false, e.leaseRef("l4"): true, e.leaseRef("l9"): false,
	} {
		e.must(e.rdb.ZRem(e.ctx, wakeKey(e.ns), ref.Member()).Err())
		got, err := e.Rewake(e.ctx, ref)
		if err != nil || got != owes {
			t.Errorf("Rewake(%s) = %t, %v, want %t", ref, got, err, owes)
		}
		if there := e.rdb.ZScore(e.ctx, wakeKey(e.ns), ref.Member()).Err() == nil; there != owes {
			t.Errorf("%s is in wake: %t, want %t", ref, there, owes)
		}
	}
	e.wantVerified()
}

func TestCheckServers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		want string // "" = no risk
	}{
		"safe":       {[]string{"--appendonly", "yes"}, ""},
		"no file":    {[]string{"--appendonly", "no"}, "appendonly is no"},
		"no sync":    {[]string{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync is no"},
		"evicts":     {[]string{"--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, "maxmemory-policy is allkeys-lru"},
		"never full": {[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnvOn(t, redistest.Client(t, redistest.Start(t, redistest.Args(tt.args...))), Config{})
			found, err := e.CheckServers(e.ctx)
			e.must(err)
			if len(found) != 1 || found[0].Version == "" || (tt.want == "") != (len(found[0].Risks) == 0) ||
				!strings.Contains(strings.Join(found[0].Risks, "\n"), tt.want) {
				t.Errorf("CheckServers = %+v, want a risk with %q", found, tt.want)
			}
		})
	}
}
