package handlers

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// failedPause is how long is left alone what has failed.
	failedPause = 500 * time.Millisecond
	// sweepAtOnce is how many namespaces of a Cluster are swept at once.
	sweepAtOnce = 50
	// hangPatience is how long a round waits for those. What takes longer goes on, and no other waits for it.
	hangPatience = 250 * time.Millisecond
)

var errHangs = errors.New("a part of the Cluster does not answer")

// clusterSweep is what one round of a Cluster leaves to the next: by namespace, and under listOfNamespaces for reading these, the call that
// goes on and the last failure. A master that is away makes each of its namespaces fail, and one that hangs, hang; the namespaces on the
// others must not notice.
type clusterSweep struct {
	open   map[string]*call
	failed map[string]outcome
}

// call is something that Redis was asked in the background.
type call struct {
	done chan outcome
	// late: nobody waits for it any more.
	late bool
}

// outcome is what came of a call.
type outcome struct {
	names []string
	err   error
	at    time.Time
}

// listOfNamespaces is no name of a namespace.
const listOfNamespaces = ""

// roundOfCluster sweeps each namespace once and returns the first error that stands in the way of any.
func (s *Sweeper) roundOfCluster(ctx context.Context, r *sweep) error {
	c := &r.cluster
	if c.open == nil {
		c.open, c.failed = map[string]*call{}, map[string]outcome{}
	}
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if time.Since(r.readAt) >= namespacesAge {
		c.begin(listOfNamespaces, func() ([]string, error) { return namespaces(ctx, s.store, s.cfg.Namespaces) })
		list := c.await(ctx, []string{listOfNamespaces})[0]
		if list.err == nil {
			r.known, r.readAt = list.names, list.at
		}
		note(list.err)
	}
	for some := range slices.Chunk(r.known, sweepAtOnce) {
		for _, ns := range some {
			c.begin(ns, func() ([]string, error) { return nil, s.Sweep(ctx, ns) })
		}
		for _, o := range c.await(ctx, some) {
			note(o.err)
		}
	}
	return first
}

// begin calls in the background, unless the last call of that name goes on or has just failed.
func (c *clusterSweep) begin(name string, do func() ([]string, error)) {
	if c.open[name] != nil || time.Since(c.failed[name].at) < failedPause {
		return
	}
	k := &call{done: make(chan outcome, 1)} // when it ends, nobody may be there any more
	c.open[name] = k
	go func() {
		names, err := do()
		k.done <- outcome{names, err, time.Now()}
	}()
}

// await returns what came of the last call of each name, and does not wait long.
func (c *clusterSweep) await(ctx context.Context, names []string) []outcome {
	ctx, cancel := context.WithTimeout(ctx, hangPatience)
	defer cancel()
	out := make([]outcome, len(names))
	for i, name := range names {
		k := c.open[name]
		if k == nil {
			out[i] = c.failed[name]
			continue
		}
		if !k.late {
			select {
			case out[i] = <-k.done:
			case <-ctx.Done():
				k.late = true
			}
		}
		if k.late {
			select {
			case out[i] = <-k.done:
			default:
				out[i].err = errHangs
				continue
			}
		}
		delete(c.open, name)
		delete(c.failed, name)
		if out[i].err != nil {
			c.failed[name] = out[i]
		}
	}
	return out
}
