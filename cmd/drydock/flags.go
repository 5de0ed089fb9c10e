package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/handlers"
	"drydock/model"
	"drydock/store"
)

// env names the variables of a flag: DRYDOCK_ and the flag's name, and any others it is known by.
func env(flag string, also ...string) cli.ValueSourceChain {
	return cli.EnvVars(append(also, envName(flag))...)
}

func envName(flag string) string {
	return "DRYDOCK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// options are the values of all flags; each command has those that concern it.
type options struct {
	redis         string
	lockRedis     []string
	lockTTL       time.Duration
	durability    string
	taskRetention time.Duration
	eventsKept    int
	logLevel      string
	logFormat     string
	otlpEndpoint  string

	listen     string
	drainDelay time.Duration
	// drainDelaySet says that the delay was asked for.
	drainDelaySet bool
	blueprints    string
	data          string

	concurrency      int
	dispatchInterval time.Duration
	namespaces       []string
	shutdownTimeout  time.Duration
	destroyGrace     time.Duration
	hookFolders      []string
	gitRoot          string
	gitSSHConfig     string
	webhookPrivate   bool
	webhookAllow     []string
	reclaimGrace     time.Duration
	retention        time.Duration

	access accessOptions
}

func (o *options) redisFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "redis", Sources: env("redis", "DRYDOCK_REDIS_URL"), Destination: &o.redis, Required: true,
		Usage: "`URL` of the data Redis: redis://host:6379/0, rediss://…, redis://a:6379,b:6379 (cluster), " +
			"redis+sentinel://a:26379,b:26379/primary/0",
	}
}

func (o *options) listenFlag(value, usage string) cli.Flag {
	return &cli.StringFlag{Name: "listen", Sources: env("listen"), Value: value, Destination: &o.listen, Usage: usage}
}

func (o *options) blueprintsFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "blueprints", Sources: env("blueprints"), Destination: &o.blueprints, TakesFile: true,
		Usage: "declare the blueprints in this YAML `FILE` at start",
	}
}

// maxEventsKept keeps one namespace's events below a few gigabytes.
const maxEventsKept = 10_000_000

// commonFlags are those of every process that speaks to Redis.
func (o *options) commonFlags(taskRetention time.Duration) []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{
			Name: "lock-ttl", Sources: env("lock-ttl"), Value: 10 * time.Second, Destination: &o.lockTTL,
			Usage: "how long an object lock outlives a worker that died; the same for all processes",
		},
		&cli.DurationFlag{
			Name: "task-retention", Sources: env("task-retention"), Value: taskRetention, Destination: &o.taskRetention,
			Usage: "how long completed tasks stay visible in Asynqmon; 0 = not at all",
		},
		&cli.IntFlag{
			Name: "events-kept", Sources: env("events-kept"), Value: store.DefaultEventsKept, Destination: &o.eventsKept,
			Usage: "about how many events each namespace keeps for those who read on later; the same for all processes",
			Validator: func(n int) error {
				if n < store.MinEventsKept || n > maxEventsKept {
					return model.Invalid("--events-kept", "must be between %d and %d", store.MinEventsKept, maxEventsKept)
				}
				return nil
			},
		},
		&cli.StringFlag{
			Name: "log-level", Sources: env("log-level"), Value: "info", Destination: &o.logLevel,
			Usage: "debug, info, warn or error",
		},
		&cli.StringFlag{
			Name: "log-format", Sources: env("log-format"), Value: "text", Destination: &o.logFormat,
			Usage: "text or json",
		},
		&cli.StringFlag{
			Name: "otlp-endpoint", Sources: env("otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"), Destination: &o.otlpEndpoint,
			Usage: "send OpenTelemetry traces to the OTLP/HTTP collector at this `URL`, such as http://127.0.0.1:4318; default nowhere",
		},
	}
}

// defaultGitRoot is where git blueprints keep their working copies.
const defaultGitRoot = "/var/lib/drydock/working-copies"

// blueprintFlags bound what blueprints may do. The API refuses a declaration that goes further, the worker an old one that
// does, so give both the same.
func (o *options) blueprintFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "hook-folder", Sources: env("hook-folder"), Destination: &o.hookFolders, TakesFile: true,
			Usage: "`FOLDER` whose programs exec blueprints and health checks may run (repeatable); default none may be run",
		},
		&cli.StringFlag{
			Name: "git-root", Sources: env("git-root"), Value: defaultGitRoot, Destination: &o.gitRoot, TakesFile: true,
			Usage: "`FOLDER` that git blueprints keep their working copies below, on the worker's machine",
		},
		&cli.StringFlag{
			Name: "git-ssh-config", Sources: env("git-ssh-config"), Destination: &o.gitSSHConfig, TakesFile: true,
			Usage: "configuration `FILE` of ssh for working copies on leased hosts; default that of the worker's user",
		},
		&cli.BoolFlag{
			Name: "webhook-private", Sources: env("webhook-private"), Destination: &o.webhookPrivate,
			Usage: "let webhooks of blueprints and subscriptions call private and loopback addresses",
		},
		&cli.StringSliceFlag{
			Name: "webhook-allow", Sources: env("webhook-allow"), Destination: &o.webhookAllow,
			Usage: "let webhooks call this `NETWORK` too, such as 10.1.0.0/16 (repeatable)",
		},
	}
}

func (o *options) apiFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{
			Name: "durability", Sources: env("durability"), Value: "memory", Destination: &o.durability,
			Usage: "what a write has reached before it is answered with 202: memory, local (synced to the append-only file; Redis 7.2) " +
				"or replicas:<k>",
		},
		&cli.DurationFlag{
			Name: "drain-delay", Sources: env("drain-delay"), Value: defaultDrainDelay, Destination: &o.drainDelay,
			Usage: "how long to serve on after SIGTERM while /readyz says 503, so that balancers send no more; where only this " +
				"host can connect, 0 unless it is given",
		},
	}, o.access.flags()...)
}

// defaultDrainDelay is longer than the interval at which most balancers ask, or hear, whether a server is ready.
const defaultDrainDelay = 5 * time.Second

// maxConcurrency keeps one process from opening more connections than a Redis takes by default.
const maxConcurrency = 5000

func (o *options) workerFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "lock-redis", Sources: env("lock-redis"), Destination: &o.lockRedis,
			Usage: "`URL` of an independent Redis for the object locks, repeated 3 or 5 times; default the data Redis",
		},
		&cli.IntFlag{
			Name: "concurrency", Sources: env("concurrency"), Value: 50, Destination: &o.concurrency,
			Usage: "updates run at once",
			Validator: func(n int) error {
				if n < 1 || n > maxConcurrency {
					return model.Invalid("--concurrency", "must be between 1 and %d", maxConcurrency)
				}
				return nil
			},
		},
		&cli.DurationFlag{
			Name: "dispatch-interval", Sources: env("dispatch-interval"), Value: 10 * time.Millisecond, Destination: &o.dispatchInterval,
			Usage: "the longest that a worker waits before it looks again for tasks that others took before it",
		},
		&cli.DurationFlag{
			Name: "shutdown-timeout", Sources: env("shutdown-timeout"), Value: 8 * time.Second, Destination: &o.shutdownTimeout,
			Usage: "how long running updates may take to end on SIGTERM",
		},
		&cli.DurationFlag{
			Name: "destroy-grace", Sources: env("destroy-grace"), Value: handlers.DefaultDestroyGrace, Destination: &o.destroyGrace,
			Usage: "how long a released resource waits for its leases before it is destroyed all the same",
		},
		&cli.DurationFlag{
			Name: "reclaim-grace", Sources: env("reclaim-grace"), Value: handlers.DefaultReclaimGrace, Destination: &o.reclaimGrace,
			Usage: "how long an idle resource is kept from being reclaimed",
		},
		&cli.DurationFlag{
			Name: "retention", Sources: env("retention"), Value: handlers.DefaultRetention, Destination: &o.retention,
			Usage: "how long destroyed leases and resources are kept, with their commands, logs and notes; 0 = for ever",
		},
	}
}

// check checks the values that no flag type can.
func (o *options) check() error {
	if !slices.Contains([]string{"text", "json"}, o.logFormat) {
		return model.Invalid("--log-format", "must be text or json, not %s", model.Quote(o.logFormat))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return model.Invalid("--log-level", "must be debug, info, warn or error, not %s", model.Quote(o.logLevel))
	}
	for name, d := range map[string]time.Duration{
		"--dispatch-interval": o.dispatchInterval, "--task-retention": o.taskRetention, "--shutdown-timeout": o.shutdownTimeout,
		"--destroy-grace": o.destroyGrace, "--reclaim-grace": o.reclaimGrace,
		"--retention": o.retention, "--drain-delay": o.drainDelay,
	} {
		if d < 0 {
			return model.Invalid(name, "must not be negative")
		}
	}
	if o.otlpEndpoint != "" {
		if u, err := url.Parse(o.otlpEndpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return model.Invalid("--otlp-endpoint", "must be a URL such as http://127.0.0.1:4318")
		}
	}
	if o.lockTTL < 100*time.Millisecond || o.lockTTL > time.Hour {
		return model.Invalid("--lock-ttl", "must be between 100ms and 1h")
	}
	for _, ns := range o.namespaces {
		if err := model.CheckName("--namespace", ns); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(o.logLevel))
	opts := &slog.HandlerOptions{Level: level}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// workerName names this process in histories: host and process id tell where to look.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}
