package store

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Deliveries are how far a namespace's subscriptions are behind.
type Deliveries struct {
	// Lag is the age of the oldest event that an enabled subscription has not got past. One that its filter leaves out counts until a
	// worker has passed over it, which takes a moment.
	Lag time.Duration
	// DeadLetters counts those of all subscriptions.
	DeadLetters int64
}

// aheadEntries is how many entries behind a subscription's place are looked at. Some are about no object: nobody is sent those, and a
// place does not move for them.
const aheadEntries = 20

// Deliveries reads how far a namespace's subscriptions are behind, in a bounded number of round trips. Errors: [model.ErrorUnavailable].
func (s *Store) Deliveries(ctx context.Context, ns string) (Deliveries, error) {
	var out Deliveries
	subs, err := s.Subscriptions(ctx, ns)
	if err != nil || len(subs) == 0 {
		return out, err
	}
	pipe, err := s.pipelineOn(ctx, ns)
	if err != nil {
		return out, translate("read what is to be delivered", err)
	}
	now := pipe.Time(ctx)
	var ahead []*redis.XMessageSliceCmd
	for _, sub := range subs {
		out.DeadLetters += sub.DeadLetters
		if !sub.Enabled {
			continue
		}
		from := "-"
		if pos, ok := parsePosition(sub.Position); ok {
			if from = pos.entry.String(); pos.seen == whole {
				from = "(" + from
			}
		}
		ahead = append(ahead, pipe.XRangeN(ctx, eventsKey(ns), from, "+", aheadEntries))
	}
	if err := exec(ctx, "read what is to be delivered", pipe); err != nil {
		return out, err
	}
	for _, entries := range ahead {
		for _, m := range entries.Val() {
			if e := decodeEntry(ns, m); len(e.events) > 0 {
				out.Lag = max(out.Lag, now.Val().Sub(e.id.time()))
				break
			}
		}
	}
	return out, nil
}
