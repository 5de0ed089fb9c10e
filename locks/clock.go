package locks

import "time"

// Reading is one look at the two clocks of this machine.
type Reading struct {
	// Monotonic is the time since a fixed instant. It never goes back, but stands still while the machine is suspended.
	Monotonic time.Duration
	// Wall is the time of day. It may be set, but has moved on after a suspension.
	Wall time.Time
}

var processStart = time.Now()

// ReadClocks reads the clocks of this machine.
func ReadClocks() Reading {
	now := time.Now()
	return Reading{Monotonic: now.Sub(processStart), Wall: now.Round(0)}
}

// since returns the time from start to r, by whichever clock saw more of it.
func (r Reading) since(start Reading) time.Duration {
	return max(r.Monotonic-start.Monotonic, r.Wall.Sub(start.Wall))
}
