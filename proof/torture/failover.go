//go:build unix

package torture

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"drydock/embedded"
	"drydock/embedded/redistest"
)

// Stock is what one server has: the resource of each lease ("" for none), all resources, and all commands.
type Stock struct {
	Leases    map[string]string
	Resources map[string]bool
	Commands  map[string]bool
}

func (s Stock) hasLease(id string) bool {
	_, ok := s.Leases[id]
	return ok
}

// Failover is one change of the primary.
type Failover struct {
	Fault Fault
	// Before FromAt all talked to the old primary alone; after ToAt they talk to the promoted one alone. The promoted replica heard nothing new for
	// some time before.
	FromAt, ToAt time.Duration
	// AgreedAt is when all Sentinels named the promoted one, which is when clients leave the old one.
	AgreedAt time.Duration
	// Old is what the old primary had when it was over, New what the promoted replica had when it was promoted. What is in Old and not in
	// New is forgotten.
	Old, New Stock
}

func (f Failover) String() string {
	count := func(old, promoted int) string { return fmt.Sprintf("%d of %d", promoted, old) }
	return fmt.Sprintf("%s from %v to %v (agreed on at %v); the promoted replica had %s leases, %s resources, %s commands", f.Fault,
		f.FromAt.Round(time.Millisecond), f.ToAt.Round(time.Millisecond), f.AgreedAt.Round(time.Millisecond), count(len(f.Old.Leases), len(f.New.Leases)),
		count(len(f.Old.Resources), len(f.New.Resources)), count(len(f.Old.Commands), len(f.New.Commands)))
}

// failoverPatience bounds a failover until the old primary is a replica in step.
const failoverPatience = 90 * time.Second

// failOver changes the primary, and writes down what either of the two had. The Sentinels do the rest: the harness starts the old
// primary again, and nothing else.
func (c *chaos) failOver(ctx context.Context, e Event) error {
	c.redis.Lock()
	defer c.redis.Unlock()
	ctx, cancel := context.WithTimeout(ctx, failoverPatience)
	defer cancel()
	w := c.s.watched
	old, promoted, err := w.Now(ctx)
	if err != nil {
		return err
	}
	if err := c.onlyOurs(ctx); err != nil {
		return err
	}
	switch e.Fault {
	case FailOverSplit:
		err = w.Isolate(ctx, old)
	case FailOverBehind:
		err = w.CutOff(ctx, old)
		pause(ctx, e.For)
		old.Kill()
	default:
		old.Kill()
	}
	if err != nil {
		return err
	}
	f := Failover{Fault: e.Fault}
	if err := until(ctx, func() (err error) {
		var role string
		if role, f.New, err = c.stock(ctx, promoted); err == nil && role != "slave, link down" {
			err = fmt.Errorf("the replica's role is %q", role)
		}
		return err
	}); err != nil {
		return fmt.Errorf("look at the replica before it is promoted: %w", err)
	}
	if err := c.awaitPromotion(ctx, promoted, &f); err != nil {
		return err
	}
	if e.Fault == FailOver {
		pause(ctx, e.For)
	}
	if e.Fault != FailOverSplit {
		if err := old.Restart(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	if err := until(ctx, func() error { return w.Agree(ctx, promoted) }); err != nil {
		return err
	}
	f.AgreedAt = c.book.now()
	if c.epoch, err = w.Epoch(ctx); err != nil {
		return err
	}
	if err := c.awaitAlone(ctx, old); err != nil {
		return err
	}
	f.ToAt = c.book.now()
	if e.Fault == FailOverSplit {
		pause(ctx, e.For)
	}
	// The Sentinels take seconds to make it a replica, which throws away what it alone has.
	role, stock, err := c.stock(ctx, old)
	if err != nil {
		return err
	}
	if role != "master" {
		return fmt.Errorf("%w: the old primary has become a replica before anybody could look at it", errUnjudged)
	}
	f.Old = stock
	if err := w.Readmit(ctx, old); err != nil {
		return err
	}
	if err := until(ctx, func() error { return w.InSync(ctx) }); err != nil {
		return fmt.Errorf("wait until the old primary is a replica: %w", err)
	}
	c.s.cfg.Logf("%v", f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failovers = append(c.failovers, f)
	return nil
}

// awaitPromotion waits until a replica is the primary, and notes when it last was not.
func (c *chaos) awaitPromotion(ctx context.Context, promoted *embedded.Server, f *Failover) error {
	client := c.s.watched.ClientOf(promoted)
	defer client.Close()
	return until(ctx, func() error {
		now := c.book.now()
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && strings.Contains(info, "role:slave") {
			f.FromAt = now
			err = fmt.Errorf("nobody has promoted %s", promoted.Addr())
		}
		return err
	})
}

// awaitAlone waits until all clients have left a primary that is none any more. The subscriptions of asynq's servers stay: they end when it
// becomes a replica, and nothing is done over them.
func (c *chaos) awaitAlone(ctx context.Context, old *embedded.Server) error {
	client := c.s.watched.ClientOf(old)
	defer client.Close()
	return until(ctx, func() error {
		list, err := client.ClientList(ctx).Result()
		clients := 0
		for line := range strings.Lines(list) {
			if strings.Contains(line, "user="+redistest.WatchedUser+" ") && !strings.Contains(line, "flags=P") {
				clients++
			}
		}
		if err == nil && clients > 1 { // one is us
			err = fmt.Errorf("%d clients are still with the old primary:\n%s", clients-1, list)
		}
		return err
	})
}

// until waits until cond holds, and returns what is missing when ctx ends.
func until(ctx context.Context, cond func() error) (err error) {
	for {
		missing := cond()
		switch {
		case missing == nil:
			return nil
		case ctx.Err() != nil:
			return cmp.Or(err, missing)
		}
		err = missing
		pause(ctx, 20*time.Millisecond)
	}
}

// stockScript reads all at one moment.
//
//nolint:dupword // blocks of Lua end like this
const stockScript = `
local p, leases, commands = 'drydock:{default}:', {}, {}
local function look(kind, found)
  local ids = redis.call('ZRANGE', p .. kind .. 's', 0, -1)
  for _, id in ipairs(ids) do
    local key = p .. kind .. ':' .. id
    if found then found(id, key) end
    for _, field in ipairs(redis.call('HKEYS', key .. ':records')) do
      -- The outcome of a command is under its id and a word.
      if not string.find(field, ':', 1, true) then table.insert(commands, field) end
    end
  end
  return ids
end
look('lease', function(id, key)
  table.insert(leases, id)
  table.insert(leases, redis.call('HGET', key, 'resource') or '')
end)
return {{redis.call('INFO', 'replication')}, leases, look('resource'), commands}`

// stock returns a server's role, and what it has.
func (c *chaos) stock(ctx context.Context, server *embedded.Server) (role string, s Stock, err error) {
	client := c.s.watched.ClientOf(server)
	defer client.Close()
	reply, err := client.Eval(ctx, stockScript, nil).Slice()
	if err != nil {
		return "", s, fmt.Errorf("what %s has: %w", server.Addr(), err)
	}
	var parts [4][]string
	for i := range parts {
		list, _ := reply[i].([]any)
		for _, v := range list {
			text, _ := v.(string)
			parts[i] = append(parts[i], text)
		}
	}
	for line := range strings.Lines(parts[0][0]) {
		switch strings.TrimSpace(line) {
		case "role:master":
			role = "master"
		case "role:slave":
			role = "slave"
		case "master_link_status:down":
			role += ", link down"
		}
	}
	s = Stock{Leases: map[string]string{}, Resources: map[string]bool{}, Commands: map[string]bool{}}
	for pair := range slices.Chunk(parts[1], 2) {
		s.Leases[pair[0]] = pair[1]
	}
	for _, id := range parts[2] {
		s.Resources[id] = true
	}
	for _, id := range parts[3] {
		s.Commands[id] = true
	}
	return role, s, nil
}
