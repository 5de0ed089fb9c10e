package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Checkup is what one look at a namespace found. What it says of a live system counts only when a second look says it again.
type Checkup struct {
	// Breaches are what [Store.Verify] returns.
	Breaches []string
	// Unwoken are the objects that owe an update and are not in wake; each is among the breaches, too.
	Unwoken []model.Ref
	// Unknown are the objects whose schema version this program does not know, with the version.
	Unknown map[model.Ref]string
	// Objects is how many it looked at.
	Objects int
}

// Checkup looks at every object of a namespace, as [Store.Verify] does.
func (s *Store) Checkup(ctx context.Context, ns string) (Checkup, error) {
	v, err := s.verify(ctx, ns)
	if err != nil {
		return Checkup{}, err
	}
	return Checkup{Breaches: v.problems, Unwoken: v.unwoken, Unknown: v.unknown, Objects: len(v.status)}, nil
}

// Rewake puts an object back into wake if it owes an update, and reports whether it does. It is for repairs.
func (s *Store) Rewake(ctx context.Context, ref model.Ref) (owes bool, err error) {
	reply, err := s.run(ctx, "rewake", rewakeScript, []string{objectKey(ref)}, ref.Member())
	if err != nil {
		return false, err
	}
	return toInt(reply[0]) == 1, nil
}

// Overdue returns objects whose time in wake passed longer than that ago, the oldest first, and how many there are. While a worker runs
// there are none: sweepers look several times a second and put off what they have seen.
func (s *Store) Overdue(ctx context.Context, ns string, ago time.Duration, most int64) (members []string, count int64, err error) {
	node, err := s.nodeFor(ctx, wakeKey(ns))
	if err != nil {
		return nil, 0, translate("list overdue objects", err)
	}
	now, err := node.Time(ctx).Result()
	if err != nil {
		return nil, 0, translate("list overdue objects", err)
	}
	end := strconv.FormatInt(now.Add(-ago).UnixMilli(), 10)
	pipe := s.rdb.Pipeline()
	some := pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: wakeKey(ns), Start: "-inf", Stop: end, ByScore: true, Count: most})
	all := pipe.ZCount(ctx, wakeKey(ns), "-inf", end)
	if err := exec(ctx, "list overdue objects", pipe); err != nil {
		return nil, 0, err
	}
	return some.Val(), all.Val(), nil
}

// ServerCheckup is what one Redis server says of itself.
type ServerCheckup struct {
	Addr, Version string
	// Settings are those that matter; nil when the server does not tell, as managed ones do.
	Settings map[string]string
	// Risks are sentences about what may lose data.
	Risks []string
}

// safetySettings decide whether data may be lost.
var safetySettings = []string{"appendonly", "appendfsync", "maxmemory", "maxmemory-policy"}

// CheckServers asks every primary about what may lose data.
func (s *Store) CheckServers(ctx context.Context) (found []ServerCheckup, err error) {
	// A server that serves no data still talks about itself.
	if err := s.Ping(ctx); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	ask := func(ctx context.Context, node *redis.Client) error {
		c, err := checkServer(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, c)
		return err
	}
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, ask)
	case *redis.Client:
		err = ask(ctx, c)
	default:
		err = fmt.Errorf("a client of type %T has no servers to ask", s.rdb)
	}
	return found, translate("check servers", err)
}

// addrOf is where a client is connected to. With Sentinel only the server can tell.
func addrOf(ctx context.Context, node *redis.Client) string {
	const sentinel = "FailoverClient"
	addr := node.Options().Addr
	if addr != sentinel {
		return addr
	}
	info, err := node.ClientInfo(ctx).Result()
	if err != nil || info.LAddr == "" {
		return "primary"
	}
	return info.LAddr
}

func checkServer(ctx context.Context, node *redis.Client) (ServerCheckup, error) {
	c := ServerCheckup{Addr: addrOf(ctx, node)}
	text, err := node.Info(ctx, "server", "persistence").Result()
	if err != nil {
		return c, err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	c.Version = info["redis_version"]
	for _, field := range []string{"aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"} {
		if status := info[field]; status != "" && status != "ok" {
			c.Risks = append(c.Risks, field+" is "+status+": the server cannot write its files")
		}
	}
	settings, err := node.ConfigGet(ctx, "*").Result()
	if _, refused := errors.AsType[redis.Error](err); refused {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.Settings = map[string]string{}
	for _, name := range safetySettings {
		c.Settings[name] = settings[name]
	}
	if c.Settings["appendonly"] != "yes" {
		c.Risks = append(c.Risks, "appendonly is no: a crash loses all since the last snapshot")
	} else if c.Settings["appendfsync"] == "no" {
		c.Risks = append(c.Risks, "appendfsync is no: a crash of the machine loses what the system has not written yet")
	}
	if policy := c.Settings["maxmemory-policy"]; c.Settings["maxmemory"] != "0" && policy != "noeviction" {
		c.Risks = append(c.Risks, "maxmemory-policy is "+policy+": when memory is full the server deletes leases, commands or locks; set noeviction")
	}
	return c, nil
}
