package bench

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// Costs are what the life of a lease costs, of the processor: from the request to active, and from the release to destroyed.
type Costs struct {
	// Redis, Worker and API are the times of one core.
	Redis, Worker, API time.Duration
	// Bytes is what Redis keeps of it afterwards.
	Bytes float64
}

// ReadCosts takes the costs from a report that `drydock bench --json` has written; it needs the rungs lease, release and http.
func ReadCosts(file string) (c Costs, err error) {
	text, err := os.ReadFile(file) //nolint:gosec // whoever runs the command names the file
	if err != nil {
		return c, fmt.Errorf("bench: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return c, fmt.Errorf("bench: read %s: %w", file, err)
	}
	lease, ok1 := r.rung("lease")
	release, ok2 := r.rung("release")
	http, ok3 := r.rung("http")
	if !ok1 || !ok2 || !ok3 {
		return c, fmt.Errorf("bench: %s lacks one of the rungs lease, release and http", file)
	}
	micros := func(us float64) time.Duration { return time.Duration(us * float64(time.Microsecond)) }
	// A request costs what http takes more than release; there are two in a life.
	request := max(0, http.Median.CPU["redis"]-release.Median.CPU["redis"])
	c = Costs{
		Redis:  micros(lease.Median.CPU["redis"] + release.Median.CPU["redis"] + 2*request),
		Worker: micros(lease.Median.CPU["worker"] + release.Median.CPU["worker"]),
		API:    micros(2 * http.Median.CPU["api"]),
		Bytes:  release.Median.Bytes,
	}
	if c.Redis <= 0 || c.Worker <= 0 || c.API <= 0 {
		return c, fmt.Errorf("bench: %s has no processor times: it was written on a system that does not tell them", file)
	}
	return c, nil
}

// Site is what a simulated Drydock runs on.
type Site struct {
	// Primaries are the Redis primaries that the namespaces are spread over; each works on one core.
	Primaries int
	// WorkerCores are the cores of all workers together.
	WorkerCores int
	// Namespaces are how many there are, all equally busy. They are spread by their names, as Cluster does it, so unevenly.
	Namespaces int
}

// Outcome is what a simulation came to.
type Outcome struct {
	// P50 and P99 are how long an update took, waiting included.
	P50, P99 time.Duration
	// Redis is the load of the busiest primary, Workers that of the workers' cores: 1 = busy all the time.
	Redis, Workers float64
}

// A simulation lasts for so long, within bounds: long enough for queues that grow to show it.
const (
	simulatedSeconds = 5
	fewestSimulated  = 40_000
	mostSimulated    = 600_000
)

// Simulate lets updates arrive at random, so many lives of leases a second, and be served in the order of their arrival: first by a core of a
// worker, then by the primary of their namespace. The same seed gives the same outcome. It is a model of where queues build up, not of
// networks or disks: those add what they add at every load.
func Simulate(site Site, costs Costs, livesPerSecond float64, seed uint64) Outcome {
	rng := rand.New(rand.NewPCG(seed, 0))
	// A life has two updates, which share its costs.
	work, store := costs.Worker.Seconds()/2, costs.Redis.Seconds()/2
	home := make([]int, site.Namespaces)
	for i := range home {
		home[i] = rng.IntN(site.Primaries)
	}
	cores := make(earliest, site.WorkerCores)
	free, busy := make([]float64, site.Primaries), make([]float64, site.Primaries)
	simulated := min(mostSimulated, max(fewestSimulated, int(2*livesPerSecond*simulatedSeconds)))
	took := make([]float64, simulated)
	// What leaves the workers reaches the primaries in the order in which it is done.
	type arrival struct{ began, done float64 }
	arrivals := make([]arrival, simulated)
	now := 0.0
	for i := range arrivals {
		now += rng.ExpFloat64() / (2 * livesPerSecond)
		start := max(now, cores[0])
		cores[0] = start + work
		heap.Fix(&cores, 0)
		arrivals[i] = arrival{now, start + work}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.done, b.done) })
	end := now
	for i, a := range arrivals {
		p := home[rng.IntN(len(home))]
		free[p] = max(a.done, free[p]) + store
		busy[p] += store
		took[i] = free[p] - a.began
		end = max(end, free[p])
	}
	slices.Sort(took)
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return Outcome{
		P50: seconds(percentile(took, 0.5)), P99: seconds(percentile(took, 0.99)),
		Redis: slices.Max(busy) / end, Workers: float64(simulated) * work / (end * float64(site.WorkerCores)),
	}
}

// earliest is a heap of the instants at which cores become free. There are as many cores as there are.
type earliest []float64

func (h *earliest) Len() int           { return len(*h) }
func (h *earliest) Less(i, j int) bool { return (*h)[i] < (*h)[j] }
func (h *earliest) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }
func (h *earliest) Push(any)           { panic("bench: no core is added") }
func (h *earliest) Pop() any           { panic("bench: no core is taken away") }

// Bound is how long the 99th percentile of updates may take in [Capacity]: what Drydock promises at half of saturation.
const Bound = 40 * time.Millisecond

// Capacity finds how many lives of leases a second a site carries with 99 % of the updates done within [Bound].
func Capacity(site Site, costs Costs, seed uint64) (livesPerSecond float64, at Outcome) {
	low, high := 0.0, 2/costs.Redis.Seconds()*float64(site.Primaries)
	for range 20 {
		middle := (low + high) / 2
		if out := Simulate(site, costs, middle, seed); out.P99 <= Bound {
			low, at = middle, out
		} else {
			high = middle
		}
	}
	return low, at
}

// sites are those that [WriteScale] is about.
var sites = []Site{
	{Primaries: 1, WorkerCores: 1, Namespaces: 1}, {Primaries: 1, WorkerCores: 2, Namespaces: 1}, {Primaries: 1, WorkerCores: 4, Namespaces: 1},
	{Primaries: 3, WorkerCores: 6, Namespaces: 1000}, {Primaries: 10, WorkerCores: 20, Namespaces: 1000},
	{Primaries: 30, WorkerCores: 60, Namespaces: 10_000}, {Primaries: 100, WorkerCores: 200, Namespaces: 100_000},
}

// WriteScale writes what sites of several sizes carry.
func WriteScale(w io.Writer, costs Costs) error {
	fmt.Fprintf(w, "A lease from the request to destroyed: %s of Redis, %s of workers, %s of API; %.1f kB kept.\n\n",
		costs.Redis.Round(time.Microsecond), costs.Worker.Round(time.Microsecond), costs.API.Round(time.Microsecond), costs.Bytes/1000)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "primaries\tworker cores\tnamespaces\tleases a second\ta day, millions\tbusiest primary\tworkers\tp50 ms\tp99 ms\tAPI cores\t")
	for _, site := range sites {
		rate, at := Capacity(site, costs, 1)
		if rate == 0 {
			return errors.New("bench: one update alone takes longer than the bound")
		}
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		fmt.Fprintf(tw, "%d\t%d\t%d\t%.0f\t%.0f\t%s\t%s\t%.1f\t%.1f\t%.1f\t\n", site.Primaries, site.WorkerCores, site.Namespaces, rate, rate*86_400/1e6,
			percent(at.Redis), percent(at.Workers), ms(at.P50), ms(at.P99), rate*costs.API.Seconds())
	}
	return tw.Flush()
}
