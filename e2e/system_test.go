package e2e_test

import "testing"

// system starts the smallest whole: a Redis, the API and one worker, with a pool of so many hosts.
func system(t *testing.T, hosts int) (c *client, rdb *testRedis, worker *process) {
	t.Helper()
	rdb = startRedis(t)
	api := startAPI(t, rdb.URL())
	worker = startWorker(t, rdb.URL())
	c = newClient(t, api.url)
	c.pool(hosts, 0)
	return c, rdb, worker
}
