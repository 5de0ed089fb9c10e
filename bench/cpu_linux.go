package bench

import (
	"time"

	"github.com/prometheus/procfs"
)

// cpuTime is the processor time that a process has used.
func cpuTime(pid int) (time.Duration, bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, false
	}
	stat, err := p.Stat()
	if err != nil {
		return 0, false
	}
	return time.Duration(stat.CPUTime() * float64(time.Second)), true
}
