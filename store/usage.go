package store

import (
	"context"
	"time"
)

const (
	// usageInterval is how long a sample lasts: a little less than the minute after which the next is due, whoever takes it.
	usageInterval = 55 * time.Second
	// usageKept is about how many samples are kept: a day's.
	usageKept = 1440
)

// UsageSample is how much of a namespace was in use at one moment.
type UsageSample struct {
	At time.Time
	// Leased counts the leases that had a place, Waiting those that waited for one.
	Leased, Waiting int
}

// SampleUsage notes how much of a namespace is in use now, for [Store.Usage]. It does nothing if somebody has done so within the last
// minute: every worker may call it as often as it likes.
func (s *Store) SampleUsage(ctx context.Context, ns string) error {
	_, err := s.run(ctx, "sample usage", sampleUsageScript, []string{usageKey(ns)}, usageInterval.Milliseconds(), usageKept)
	return err
}

// Usage returns the samples of a namespace that were taken at an instant or later, oldest first. About a day's are kept.
func (s *Store) Usage(ctx context.Context, ns string, since time.Time) ([]UsageSample, error) {
	entries, err := s.rdb.XRange(ctx, usageKey(ns), "-", "+").Result()
	if err != nil {
		return nil, translate("read usage", err)
	}
	samples := make([]UsageSample, 0, len(entries))
	for _, e := range entries {
		sample := UsageSample{At: millis(toInt(e.Values["ms"])), Leased: int(toInt(e.Values["u"])), Waiting: int(toInt(e.Values["w"]))}
		if !sample.At.Before(since) {
			samples = append(samples, sample)
		}
	}
	return samples, nil
}
