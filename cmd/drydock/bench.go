package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/bench"
	"drydock/model"
)

func benchCommand() *cli.Command {
	var cfg bench.Config
	var growth bench.GrowthConfig
	var file, costs string
	var grow bool
	positive := func(name string) func(int) error {
		return func(n int) error {
			if n < 1 {
				return model.Invalid("--"+name, "must be at least 1, not %d", n)
			}
			return nil
		}
	}
	count := func(name, usage string, value int, into *int) cli.Flag {
		return &cli.IntFlag{Name: name, Usage: usage, Value: value, Destination: into, Validator: positive(name)}
	}
	return &cli.Command{
		Name:  "bench",
		Usage: "measure this build on this machine, beside raw asynq and a naive design",
		Description: "Starts a redis-server, workers and an API of its own on loopback addresses, and measures one after the other, round by\n" +
			"round: the Redis ceiling, raw asynq, the naive design, and Drydock. Checks the effects of each. Nothing else should\n" +
			"run meanwhile. docs/performance.md says what the figures mean.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "rung", Usage: "measure only the rung `NAME` (repeatable)", Destination: &cfg.Rungs},
			count("rounds", "how often each rung is measured", 5, &cfg.Rounds),
			count("count", "operations in a rung", 5000, &cfg.Count),
			count("concurrency", "updates or tasks a worker runs at once", 50, &cfg.Concurrency),
			count("clients", "requests under way", 32, &cfg.Clients),
			&cli.DurationFlag{
				Name: "dispatch-interval", Usage: "how often an idle worker of raw asynq looks for tasks; passed on to Drydock's", Value: 10 * time.Millisecond,
				Destination: &cfg.DispatchInterval,
			},
			&cli.StringFlag{Name: "appendfsync", Usage: "when Redis syncs to disk: always, everysec or no", Value: "everysec", Destination: &cfg.AppendFsync},
			&cli.StringSliceFlag{Name: "worker-arg", Usage: "a further flag for Drydock's workers, such as --worker-arg=--log-level=warn (repeatable)", Destination: &cfg.WorkerArgs},
			&cli.BoolFlag{Name: "growth", Usage: "measure instead what operations cost as objects, pools and waiters grow in number", Destination: &grow},
			&cli.IntSliceFlag{Name: "objects", Usage: "with --growth: how many destroyed leases lie about (repeatable, ascending); default 1000, 10000, 100000", Destination: &growth.Objects},
			&cli.IntSliceFlag{Name: "pools", Usage: "with --growth: how many pools there are (repeatable, ascending); default 10, 100, 1000", Destination: &growth.Pools},
			&cli.IntSliceFlag{Name: "waiters", Usage: "with --growth: how many leases wait (repeatable, ascending); default 10, 100, 1000, 10000", Destination: &growth.Waiters},
			count("live", "with --growth: how many active leases there are", 1000, &growth.Live),
			count("repetitions", "with --growth: how often each operation is measured", 300, &growth.Repetitions),
			&cli.StringFlag{Name: "scale", Usage: "measure nothing; simulate larger sites with the costs in `FILE`, which --json has written", TakesFile: true, Destination: &costs},
			&cli.StringFlag{Name: "json", Usage: "also write the report to this `FILE`", TakesFile: true, Destination: &file},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if costs != "" {
				c, err := bench.ReadCosts(costs)
				if err != nil {
					return err
				}
				return bench.WriteScale(cmd.Root().Writer, c)
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			var o options
			o.logLevel, o.logFormat = "info", "text"
			cfg.Binary, cfg.Version, cfg.Log, growth.Log = self, version, o.logger(), o.logger()
			var report interface{ WriteTable(w io.Writer) error }
			if grow {
				report, err = bench.Growth(ctx, growth)
			} else {
				report, err = bench.Run(ctx, cfg)
			}
			if err != nil {
				return err
			}
			if file != "" {
				text, err := json.MarshalIndent(report, "", "  ")
				if err != nil {
					return err
				}
				if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
					return fmt.Errorf("write the report: %w", err)
				}
			}
			return report.WriteTable(cmd.Root().Writer)
		},
	}
}

// benchWorkerCommand is a worker that is not Drydock's, for the rungs that Drydock is measured beside.
func benchWorkerCommand() *cli.Command {
	var url, kind string
	var concurrency int
	var interval time.Duration
	return &cli.Command{
		Name: bench.WorkCommand, Hidden: true, Usage: "a worker for bench that is not Drydock's",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "redis", Required: true, Destination: &url, Usage: "`URL` of the Redis"},
			&cli.StringFlag{Name: "kind", Required: true, Destination: &kind, Usage: "noop or naive"},
			&cli.IntFlag{Name: "concurrency", Required: true, Destination: &concurrency, Usage: "tasks run at once"},
			&cli.DurationFlag{Name: "dispatch-interval", Required: true, Destination: &interval, Usage: "how often it looks for tasks"},
		},
		Action: func(ctx context.Context, _ *cli.Command) error {
			return bench.Work(ctx, url, kind, concurrency, interval)
		},
	}
}
