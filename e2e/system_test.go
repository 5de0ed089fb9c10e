package e2e_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
)

// system starts the smallest whole: a Redis, the API and one worker, with a pool of so many hosts.
func system(t *testing.T, hosts int) (c *client, rdb *redis.Client, worker *process) {
	t.Helper()
	server := redistest.Start(t)
	api := startAPI(t, server.URL())
	worker = startWorker(t, server.URL())
	c = newClient(t, api.url)
	c.pool(hosts, 0)
	return c, redistest.Client(t, server), worker
}
