package handlers

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestSweepOfAClusterWaitsForNobodyThatHangs: what hangs is waited for once, and not called again until it has come back; what has failed is
// left alone for a while.
func TestSweepOfAClusterWaitsForNobodyThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clusterSweep{open: map[string]*call{}, failed: map[string]outcome{}}
		errAway := errors.New("away")
		calls := map[string]int{}
		hangs := make(chan struct{})
		do := map[string]func() ([]string, error){
			"hung": func() ([]string, error) { <-hangs; return nil, errAway },
			"away": func() ([]string, error) { return nil, errAway },
			"well": func() ([]string, error) { return nil, nil },
		}
		names := []string{"hung", "away", "well"}
		round := func(took time.Duration, want ...error) {
			t.Helper()
			began := time.Now()
			for _, name := range names {
				before := c.open[name]
				c.begin(name, do[name])
				if c.open[name] != before {
					calls[name]++
				}
			}
			synctest.Wait()
			for i, o := range c.await(t.Context(), names) {
				if !errors.Is(o.err, want[i]) {
					t.Errorf("%s: %v, want %v", names[i], o.err, want[i])
				}
			}
			if got := time.Since(began); got != took {
				t.Errorf("the round took %v, want %v", got, took)
			}
		}
		round(hangPatience, errHangs, errAway, nil)
		round(0, errHangs, errAway, nil)
		if calls["hung"] != 1 || calls["away"] != 1 || calls["well"] != 2 {
			t.Errorf("it called %v, want again what is well alone", calls)
		}
		close(hangs)
		synctest.Wait()
		round(0, errAway, errAway, nil)
		time.Sleep(failedPause)
		round(0, errAway, errAway, nil)
		if calls["hung"] != 2 || calls["away"] != 2 {
			t.Errorf("it called %v, want both that failed once more", calls)
		}
	})
}
