//go:build unix

package torture

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
	"drydock/proof/torture/target"
)

const (
	// lockTTL is short, so that what a dead worker held comes back soon.
	lockTTL = 500 * time.Millisecond
	// longLockTTL is asked after in a third of it, which is longer than any hook.
	longLockTTL = 6 * time.Second
	// hookTimeout is that of the exec blueprint's hooks.
	hookTimeout = 2 * time.Second
	// sentinelPatience is how long a primary may be silent before it is taken for dead: longer than a busy machine lets it wait.
	sentinelPatience = 2 * time.Second
	workers          = 3
	poolHosts        = 3
	madeHosts        = 5
)

// system is all that a run is made of.
type system struct {
	cfg Config
	dir string
	// redis is the one Redis; watched is there instead of it when there are failovers.
	redis   *embedded.Server
	watched *redistest.Watched
	direct  *redis.Client // past the proxy; of the primary
	// lockNodes hold the object locks, in memory; none when the data Redis does. locksAt are clients of whatever holds them.
	lockNodes []*embedded.Server
	locksAt   []*redis.Client
	// toRedis is what the processes reach the one Redis through, toAPI what clients reach the API through.
	toRedis, toAPI *proxy
	api            *process
	workers        []*process
	target         target.Target
	clockFile      string
	closers        []func()
}

func (s *system) onClose(f func()) { s.closers = append(s.closers, f) }

func (s *system) close() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
	s.closers = nil
}

// startSystem starts Redis, proxies, the API and the workers, and declares the blueprints.
func startSystem(ctx context.Context, cfg Config) (s *system, err error) {
	s = &system{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(s.logs()))
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp(cfg.Dir, "torture"); err != nil {
		return s, err
	}
	s.onClose(func() { _ = os.RemoveAll(s.dir) })
	s.target = target.Target{Folder: filepath.Join(s.dir, "target")}
	s.clockFile = filepath.Join(s.dir, "clock")
	if err = s.target.Prepare(); err != nil {
		return s, err
	}
	if err = s.startRedis(ctx); err != nil {
		return s, err
	}
	s.onClose(func() { _ = s.direct.Close() })
	s.locksAt = []*redis.Client{s.direct}
	if cfg.LockNodes {
		if err = s.startLockNodes(ctx); err != nil {
			return s, err
		}
	}
	port, err := embedded.FreePort()
	if err != nil {
		return s, err
	}
	if s.toAPI, err = startProxy(fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return s, err
	}
	s.onClose(s.toAPI.Stop)
	if err = s.startProcesses(port); err != nil {
		return s, err
	}
	return s, s.declare(ctx)
}

func (s *system) startRedis(ctx context.Context) (err error) {
	if haveFailover(s.cfg.Faults) {
		if s.watched, err = redistest.Watch(ctx, filepath.Join(s.dir, "redis"), sentinelPatience); err != nil {
			return err
		}
		s.onClose(s.watched.Stop)
		s.direct = s.watched.Client()
		return nil
	}
	s.redis, err = embedded.StartServer(ctx, embedded.Config{Dir: filepath.Join(s.dir, "redis"), AppendOnly: true, AppendFsync: "always"})
	if err != nil {
		return err
	}
	s.onClose(s.redis.Stop)
	s.direct = redis.NewClient(&redis.Options{Addr: s.redis.Addr(), DialTimeout: time.Second})
	if s.toRedis, err = startProxy(s.redis.Addr()); err != nil {
		return err
	}
	s.onClose(s.toRedis.Stop)
	return nil
}

// url is where the processes find Redis.
func (s *system) url() string {
	if s.watched != nil {
		return s.watched.URL()
	}
	return "redis://" + s.toRedis.Addr() + "/0"
}

func (s *system) proxies() []*proxy {
	if s.toRedis == nil {
		return []*proxy{s.toAPI}
	}
	return []*proxy{s.toRedis, s.toAPI}
}

func (s *system) startLockNodes(ctx context.Context) error {
	s.locksAt = nil
	for i := range 3 {
		node, err := embedded.StartServer(ctx, embedded.Config{Dir: filepath.Join(s.dir, fmt.Sprintf("locks%d", i))})
		if err != nil {
			return err
		}
		s.onClose(node.Stop)
		client := redis.NewClient(&redis.Options{Addr: node.Addr(), DialTimeout: time.Second})
		s.onClose(func() { _ = client.Close() })
		s.lockNodes, s.locksAt = append(s.lockNodes, node), append(s.locksAt, client)
	}
	return nil
}

func (s *system) startProcesses(apiPort int) error {
	ttl := lockTTL
	if s.cfg.LongLocks {
		ttl = longLockTTL
	}
	common := []string{"--redis", s.url(), "--lock-ttl", ttl.String(), "--hook-folder", filepath.Dir(s.cfg.Hook)}
	s.api = &process{
		name: "api", binary: s.cfg.Binary, log: &log{},
		args: append([]string{"api", "--listen", fmt.Sprintf("127.0.0.1:%d", apiPort), "--durability", cmp.Or(s.cfg.Durability, "memory")}, common...),
	}
	var nodes []string
	for _, node := range s.lockNodes {
		nodes = append(nodes, "--lock-redis", node.URL())
	}
	for i := range workers {
		s.workers = append(s.workers, &process{
			name: fmt.Sprintf("worker %d", i), binary: s.cfg.Binary, log: &log{},
			args: slices.Concat([]string{"worker", "--shutdown-timeout", "1s", "--concurrency", "8"}, common, nodes),
			env:  []string{"DRYDOCK_TEST_CLOCK=" + s.clockFile},
		})
	}
	for _, p := range s.processes() {
		if err := p.start(); err != nil {
			return err
		}
		s.onClose(p.kill)
	}
	return nil
}

func (s *system) processes() []*process { return append([]*process{s.api}, s.workers...) }

// declare declares a pool, whose hosts need no outside work, and an exec blueprint, whose every step is a hook.
func (s *system) declare(ctx context.Context) error {
	hosts := make([]map[string]string, poolHosts)
	for i := range hosts {
		hosts[i] = map[string]string{"name": fmt.Sprintf("h%d", i+1)}
	}
	commands := map[string][]string{}
	for _, step := range []string{target.StepActivate, target.StepDestroy, target.StepActivateLease, target.StepReleaseLease, target.StepDestroyLease} {
		commands[step] = []string{s.cfg.Hook}
	}
	u := newUser("operator", "http://"+s.toAPI.Addr(), &book{begin: time.Now()}, rand.New(rand.NewPCG(0, 0)))
	defer u.close()
	for name, declaration := range map[string]any{
		"lab": map[string]any{"kind": "pool", "type": "host", "config": map[string]any{"hosts": hosts}},
		"made": map[string]any{"kind": "exec", "type": "made", "limit": madeHosts, "config": map[string]any{
			"commands": commands, "timeout": hookTimeout.String(), "env": map[string]string{target.EnvFolder: s.target.Folder},
		}},
	} {
		body, err := json.Marshal(declaration)
		if err != nil {
			return err
		}
		for {
			a, err := u.do(ctx, http.MethodPut, "/v1/blueprints/"+name, string(body))
			if err == nil && a.status == http.StatusCreated {
				break
			}
			if err == nil && a.status != http.StatusServiceUnavailable {
				return fmt.Errorf("declare %s: %d %s", name, a.status, a.body)
			}
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), err)
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

// doctor runs `drydock doctor`, and returns what it says when it finds something.
func (s *system) doctor(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.cfg.Binary, "doctor", "--redis", s.url())
	cmd.Env = environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("drydock doctor: %w\n%s", err, out)
	}
	return nil
}

// sound waits until the doctor finds nothing: asynq's servers say every five seconds that they are there.
func (s *system) sound(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := s.doctor(ctx)
		if err == nil || bounded.Err() != nil {
			return err
		}
		pause(bounded, time.Second)
	}
}

// logs returns the last words of all processes.
func (s *system) logs() string {
	text := ""
	if s.api == nil {
		return text
	}
	for _, p := range s.processes() {
		said := p.log.String()
		text += fmt.Sprintf("--- the last words of %s:\n%s\n--- and its errors:\n%s\n", p.name, said[max(0, len(said)-6000):], p.log.errors())
	}
	if s.watched != nil {
		text += s.watched.Log()
	}
	return text
}
