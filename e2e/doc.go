// Package e2e tests Drydock from outside: its tests build the binary, start real processes of it on a redis-server of their own, drive
// them over HTTP as a user would, and kill, stop and cut off what the world kills, stops and cuts off. With -cluster, each test has a Redis
// Cluster instead; redis_test.go says which do not.
//
// There is nothing to import here. What a test starts it ends, by process id; what it waits for it sees over HTTP or in a log.
package e2e
