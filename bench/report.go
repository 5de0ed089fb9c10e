package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"drydock/store"
)

// Report is what a run has measured.
type Report struct {
	Version     string       `json:"version"`
	Go          string       `json:"go"`
	System      string       `json:"system"`
	Cores       int          `json:"cores"`
	Redis       string       `json:"redis"`
	AppendFsync string       `json:"appendfsync"`
	Rounds      int          `json:"rounds"`
	Count       int          `json:"count"`
	Concurrency int          `json:"concurrency"`
	DispatchMS  float64      `json:"dispatch_ms"`
	Clients     int          `json:"clients"`
	WorkerArgs  []string     `json:"worker_args"`
	Rungs       []RungReport `json:"rungs"`
	Ratios      []Ratio      `json:"ratios"`
}

// RungReport is what one rung came to, round by round.
type RungReport struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	// Median has the median of each figure over the rounds, and Spread how far the rates lie apart, as a share of their median.
	Median Sample   `json:"median"`
	Spread float64  `json:"spread"`
	Rounds []Sample `json:"rounds"`
}

// Sample is one run of a rung. Figures that a rung does not have are zero and stay out of the JSON.
type Sample struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	// P50, P95 and P99 are how long it took from the acceptance of a command until it was applied, in milliseconds, by the times that
	// are stored with it. In a rung that drains a queue that is mostly waiting.
	P50 float64 `json:"p50_ms,omitempty"`
	P95 float64 `json:"p95_ms,omitempty"`
	P99 float64 `json:"p99_ms,omitempty"`
	// Commands counts what Redis executed for one operation, those inside scripts included; Reads how often it read from a socket, which
	// is a round trip or several in one.
	Commands float64 `json:"redis_commands,omitempty"`
	Reads    float64 `json:"redis_reads,omitempty"`
	// Bytes is how much memory Redis keeps for one object, with its history and logs.
	Bytes float64 `json:"bytes,omitempty"`
	// CPU is processor time for one operation in microseconds, by process; in the rung idle, the share of a core.
	CPU map[string]float64 `json:"cpu_us,omitempty"`
	// IdleCPU is the share of a core that an idle worker takes.
	IdleCPU float64 `json:"idle_cpu,omitempty"`
}

// Ratio compares two rungs of one run, or a figure with its target; without a target it is there to be compared with.
type Ratio struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Target float64 `json:"target"`
	// AtMost says that the target is an upper bound.
	AtMost bool `json:"at_most,omitempty"`
}

// Met reports whether the ratio meets its target.
func (r Ratio) Met() bool {
	if r.AtMost {
		return r.Value <= r.Target
	}
	return r.Value >= r.Target
}

func (r *Report) add(g rung, s Sample) {
	i := slices.IndexFunc(r.Rungs, func(x RungReport) bool { return x.Name == g.name })
	if i < 0 {
		r.Rungs = append(r.Rungs, RungReport{Name: g.name, Title: g.title, Unit: g.unit})
		i = len(r.Rungs) - 1
	}
	r.Rungs[i].Rounds = append(r.Rungs[i].Rounds, s)
}

// conclude works out medians and ratios.
func (r *Report) conclude() {
	for i := range r.Rungs {
		g := &r.Rungs[i]
		of := func(get func(Sample) float64) float64 {
			values := make([]float64, len(g.Rounds))
			for j, s := range g.Rounds {
				values[j] = get(s)
			}
			return median(values)
		}
		g.Median = Sample{
			Operations: g.Rounds[0].Operations,
			Seconds:    of(func(s Sample) float64 { return s.Seconds }),
			PerSecond:  of(func(s Sample) float64 { return s.PerSecond }),
			P50:        of(func(s Sample) float64 { return s.P50 }),
			P95:        of(func(s Sample) float64 { return s.P95 }),
			P99:        of(func(s Sample) float64 { return s.P99 }),
			Commands:   of(func(s Sample) float64 { return s.Commands }),
			Reads:      of(func(s Sample) float64 { return s.Reads }),
			Bytes:      of(func(s Sample) float64 { return s.Bytes }),
			IdleCPU:    of(func(s Sample) float64 { return s.IdleCPU }),
			CPU:        map[string]float64{},
		}
		for name := range g.Rounds[0].CPU {
			g.Median.CPU[name] = of(func(s Sample) float64 { return s.CPU[name] })
		}
		rates := make([]float64, len(g.Rounds))
		for j, s := range g.Rounds {
			rates[j] = s.PerSecond
		}
		if g.Median.PerSecond > 0 {
			g.Spread = (slices.Max(rates) - slices.Min(rates)) / g.Median.PerSecond
		}
	}
	r.ratio("release / asynq", "release", "asynq", 0.6)
	r.ratio("release / naive", "release", "naive", 1.25)
	r.ratio("floor / asynq", "floor", "asynq", 0)
	r.ratio("release / floor", "release", "floor", 0)
	r.ratio("hot / naive", "hot", "naive", 10)
	if l, ok := r.rung("lease"); ok {
		r.Ratios = append(r.Ratios, Ratio{Name: "leases a second", Value: l.Median.PerSecond, Target: 2000})
	}
	r.ratio("or lease / asynq", "lease", "asynq", 0.4)
	r.ratio("http / release", "http", "release", 0.7)
	r.ratio("bulk / release", "bulk", "release", 1)
	if p, ok := r.rung("paced"); ok {
		r.Ratios = append(r.Ratios,
			Ratio{Name: "paced p50, ms", Value: p.Median.P50, Target: 10, AtMost: true},
			Ratio{Name: "paced p99, ms", Value: p.Median.P99, Target: 40, AtMost: true})
	}
	if p, ok := r.rung("idle"); ok {
		r.Ratios = append(r.Ratios,
			Ratio{Name: "idle worker, % of a core", Value: 100 * p.Median.IdleCPU, Target: 2, AtMost: true},
			Ratio{Name: "idle worker's dispatch p50, ms", Value: p.Median.P50, Target: 10, AtMost: true})
	}
	if p, ok := r.rung("recovery"); ok {
		r.Ratios = append(r.Ratios, Ratio{
			Name: fmt.Sprintf("recovery of %d updates, s", p.Median.Operations), Value: p.Median.Seconds,
			Target: (store.DefaultVisibility + time.Second).Seconds(), AtMost: true,
		})
	}
	if p, ok := r.rung("asynq-recovery"); ok {
		r.Ratios = append(r.Ratios, Ratio{
			Name: fmt.Sprintf("asynq's own recovery of %d tasks, s", p.Median.Operations), Value: p.Median.Seconds,
		})
	}
}

func (r *Report) rung(name string) (RungReport, bool) {
	for _, g := range r.Rungs {
		if g.Name == name {
			return g, true
		}
	}
	return RungReport{}, false
}

// ratio is the median of the ratios of each round: what happens to the machine happens to both.
func (r *Report) ratio(name, above, below string, target float64) {
	a, ok := r.rung(above)
	b, also := r.rung(below)
	if !ok || !also {
		return
	}
	values := make([]float64, min(len(a.Rounds), len(b.Rounds)))
	for i := range values {
		values[i] = a.Rounds[i].PerSecond / b.Rounds[i].PerSecond
	}
	r.Ratios = append(r.Ratios, Ratio{Name: name, Value: median(values), Target: target})
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "drydock %s, %s, %s, %d cores, Redis %s with appendfsync %s\n", r.Version, r.Go, r.System, r.Cores, r.Redis, r.AppendFsync)
	fmt.Fprintf(w, "%d rounds of %d operations; workers: %d at once, dispatch every %s; %d clients\n\n",
		r.Rounds, r.Count, r.Concurrency, time.Duration(r.DispatchMS*float64(time.Millisecond)), r.Clients)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "rung\tper second\tspread\tp50 ms\tp95 ms\tp99 ms\tcommands\treads\tbytes\tworker µs\tapi µs\tredis µs\tload µs\t")
	for _, g := range r.Rungs {
		m := g.Median
		if m.PerSecond == 0 && m.P50 == 0 {
			continue // it has one figure, which stands below
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", g.Name, figure(m.PerSecond, 0), percent(g.Spread),
			figure(m.P50, 1), figure(m.P95, 1), figure(m.P99, 1), figure(m.Commands, 1), figure(m.Reads, 1), figure(m.Bytes, 0),
			figure(m.CPU["worker"], 0), figure(m.CPU["api"], 0), figure(m.CPU["redis"], 0), figure(m.CPU["load"], 0))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, ratio := range r.Ratios {
		if ratio.Target == 0 {
			fmt.Fprintf(tw, "%s\t%s\n", ratio.Name, figure(ratio.Value, 2))
			continue
		}
		bound, verdict := "≥", "met"
		if ratio.AtMost {
			bound = "≤"
		}
		if !ratio.Met() {
			verdict = "missed"
		}
		fmt.Fprintf(tw, "%s\t%s\twant %s %g\t%s\n", ratio.Name, figure(ratio.Value, 2), bound, ratio.Target, verdict)
	}
	return tw.Flush()
}

// figure prints a number, and a dash for one that was not measured.
func figure(v float64, decimals int) string {
	if v == 0 || math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

func percent(share float64) string { return strings.TrimSpace(fmt.Sprintf("%.0f %%", 100*share)) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// percentile returns the value below which a share of the sorted values lies, by the nearest rank.
func percentile[T cmp.Ordered](sorted []T, share float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
