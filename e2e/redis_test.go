package e2e_test

import (
	"context"
	"flag"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
	"drydock/internal/relay"
)

// onCluster has the tests run on Redis Clusters: make test/cluster.
var onCluster = flag.Bool("cluster", false, "give each test a Redis Cluster of three masters instead of one server")

// notOnCluster are the tests that -cluster leaves out, and why. A test that is not here must get its Redis from [startRedis].
var notOnCluster = map[string]string{
	"TestCluster":                        "has a Cluster in every run",
	"TestClusterAPIStartsWithoutAMaster": "has a Cluster in every run",
	"TestClusterMasterDies":              "has a Cluster in every run",
	"TestClusterMasterHangs":             "has a Cluster in every run",
	"TestSentinelFailover":               "is about the other way to survive a server",
	"TestStranger":                       "is about drydock dev, which starts a server of its own",
	"TestStrangerWithoutRedis":           "is about drydock dev without any server",
	"TestBenchDoesWhatItMeasures":        "is about drydock bench, which starts a server of its own",
	"TestBenchGrowthDoesWhatItMeasures":  "is about drydock bench, which starts a server of its own",
	"TestBenchRefuses":                   "needs no Redis",
	"TestCompletion":                     "needs no Redis",
	"TestExceptionsExist":                "needs no Redis",
	"TestKubernetesManifestsFitTogether": "needs no Redis",
	"TestNobodyServesEverybodyByMistake": "needs no Redis",
	"TestSystemdUnitsCallWhatThereIs":    "needs no Redis",
	"TestTLSWithANewCertificate":         "needs no Redis",
	"TestUsage":                          "needs no Redis",
}

// skipExceptions leaves out what is not for a Cluster, beside what the user leaves out.
func skipExceptions() error {
	pattern := "^(" + strings.Join(slices.Sorted(maps.Keys(notOnCluster)), "|") + ")$"
	if skip := flag.Lookup("test.skip"); skip.Value.String() != "" {
		pattern = skip.Value.String() + "|" + pattern
	}
	return flag.Set("test.skip", pattern)
}

// checkOnCluster fails a test that -cluster does not leave out and that has Drydock use one server. Lock nodes are servers of their own.
func checkOnCluster(t testing.TB, env, args []string) {
	t.Helper()
	single := slices.Contains(args, "dev")
	for i, arg := range args {
		single = single || i > 0 && args[i-1] == "--redis" && !strings.Contains(arg, ",")
	}
	for _, v := range env {
		single = single || strings.HasPrefix(v, "DRYDOCK_REDIS_URL=") && !strings.Contains(v, ",")
	}
	if single {
		t.Errorf("drydock %q is not on a Cluster: startRedis gives one, and notOnCluster names the tests that need none", args)
	}
}

// TestExceptionsExist: what is left out on a Cluster is not the name of a test that is gone.
func TestExceptionsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		all.WriteString(readFile(t, file))
	}
	for name := range notOnCluster {
		if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T) {") {
			t.Errorf("there is no test %s", name)
		}
	}
}

// testRedis is the Redis of one test: a server or, with -cluster, a Cluster of three masters. As a client it finds each key where it is.
type testRedis struct {
	redis.UniversalClient

	t       *testing.T
	cluster *redistest.Cluster // nil: one server
	servers []*embedded.Server
	url     string
}

// startRedis starts a Redis for this test alone.
func startRedis(t *testing.T, opts ...redistest.Option) *testRedis {
	t.Helper()
	if *onCluster {
		c := redistest.StartCluster(t, 3, opts...)
		return &testRedis{UniversalClient: c.Client(t), t: t, cluster: c, servers: c.Masters, url: c.URL()}
	}
	server := redistest.Start(t, opts...)
	return &testRedis{UniversalClient: redistest.Client(t, server), t: t, servers: []*embedded.Server{server}, url: server.URL()}
}

// URL is the address for Drydock.
func (r *testRedis) URL() string { return r.url }

// kill ends all servers with SIGKILL, at once.
func (r *testRedis) kill() {
	for _, s := range r.servers {
		s.Kill()
	}
}

// stop stops all servers.
func (r *testRedis) stop() {
	for _, s := range r.servers {
		s.Stop()
	}
}

// restart starts all servers again and returns when they serve.
func (r *testRedis) restart() {
	r.t.Helper()
	for _, s := range r.servers {
		if err := s.Restart(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
	if r.cluster != nil {
		eventually(r.t, func() error { return r.cluster.Whole(r.t.Context()) })
	}
}

// each does something with every server, for what is not about keys.
func (r *testRedis) each(do func(ctx context.Context, server *redis.Client) error) {
	r.t.Helper()
	var err error
	if c, ok := r.UniversalClient.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(r.t.Context(), do)
	} else {
		err = do(r.t.Context(), r.UniversalClient.(*redis.Client)) //nolint:forcetypeassert // there is no third kind
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// configure sets a parameter on every server.
func (r *testRedis) configure(name, value string) {
	r.t.Helper()
	r.each(func(ctx context.Context, server *redis.Client) error { return server.ConfigSet(ctx, name, value).Err() })
}

// deleteAll deletes the keys that match, wherever they are, and returns how many.
func (r *testRedis) deleteAll(pattern string) (deleted int) {
	r.t.Helper()
	var mu sync.Mutex
	r.each(func(ctx context.Context, server *redis.Client) error {
		scan := server.Scan(ctx, 0, pattern, 1000).Iterator()
		for scan.Next(ctx) {
			n, err := server.Del(ctx, scan.Val()).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			deleted += int(n)
			mu.Unlock()
		}
		return scan.Err()
	})
	return deleted
}

// behindProxies puts a proxy in front of each server, and returns the address for a Drydock that is to come through them. On a Cluster, whose
// servers tell their clients where all of them are, the proxies tell where the proxies are.
func (r *testRedis) behindProxies(request, reply func([]byte) bool) (url string) {
	r.t.Helper()
	var proxies []*relay.Relay
	var ports []string
	url = r.url
	for _, s := range r.servers {
		p := newProxy(r.t, s.Addr(), request, reply)
		proxies = append(proxies, p)
		url = strings.Replace(url, s.Addr(), p.Addr(), 1)
		ports = append(ports, portIn(s.Addr()), portIn(p.Addr()))
	}
	for _, p := range proxies {
		if r.cluster != nil {
			p.Told = strings.NewReplacer(ports...)
		}
		p.Serve()
	}
	return url
}

// portIn is how a Redis writes the port of an address, as a number of its own and at the end of an error.
func portIn(addr string) string { return addr[strings.LastIndex(addr, ":"):] + "\r\n" }

// clusterNamespaces are on one each of a Cluster's masters, in their order.
var clusterNamespaces = []string{"north", "south", "east"}

// namespaceOf is where a test works: the default namespace or, on a Cluster, one by the test's name, so that the tests spread over the masters.
func namespaceOf(t testing.TB) string {
	if !*onCluster {
		return "default"
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return clusterNamespaces[sum.Sum32()%uint32(len(clusterNamespaces))]
}
