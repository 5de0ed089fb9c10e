// Package metrics holds the numbers that Drydock shows to Prometheus, except for those of HTTP requests, which package api counts.
//
// [Metrics] are counters and histograms of what this process does; sum them over all processes. [Collector] reads how much there is of
// everything in Redis, when somebody asks; every process shows the same, so take any one of them (max).
//
// Labels take few values: kinds, commands, outcomes, steps, states; namespaces and types as far as they are known and no more than a
// bounded number of each. Never ids, owners or addresses.
package metrics
