package main

import (
	"os"
	"strings"
	"time"

	"drydock/locks"
)

// testClockEnv names a variable for tests alone (proof/torture): a file with a duration, such as "-5s", by which this worker's time of day
// is off. It is read at each look at the clock, so that a test can step the clock of a process that runs. What can be stepped is
// that by which the worker trusts its locks; all other times are Redis's.
const testClockEnv = "DRYDOCK_TEST_CLOCK"

// testClocks returns the clocks that the test sets, nil (the machine's) when there is no test.
func testClocks() func() locks.Reading {
	path := os.Getenv(testClockEnv)
	if path == "" {
		return nil
	}
	return func() locks.Reading {
		now := locks.ReadClocks()
		text, _ := os.ReadFile(path) //nolint:gosec // a test names it; no file, no step
		step, _ := time.ParseDuration(strings.TrimSpace(string(text)))
		now.Wall = now.Wall.Add(step)
		return now
	}
}
