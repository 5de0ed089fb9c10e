//go:build !linux

package bench

import "time"

// cpuTime knows nothing here: the report has dashes.
func cpuTime(int) (time.Duration, bool) { return 0, false }
