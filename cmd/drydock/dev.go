package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/blueprints"
	"drydock/embedded"
	"drydock/examples"
	"drydock/model"
)

func devCommand() *cli.Command {
	var o options
	flags := []cli.Flag{
		o.listenFlag("127.0.0.1:8080", "`ADDR` to serve on"),
		&cli.StringFlag{
			Name: "data", Sources: env("data"), Destination: &o.data, TakesFile: true,
			Usage: "folder for the data; default " + defaultData("~/.local/share"),
		},
		o.blueprintsFlag(),
	}
	return &cli.Command{
		Name:  "dev",
		Usage: "run everything in one process, with a Redis of its own",
		Description: "Starts a private redis-server with its data in a folder when one is on PATH, otherwise an in-memory look-alike that\n" +
			"forgets everything; and the API, workers and Asynqmon. Without --blueprints it declares an example pool.",
		Flags: slices.Concat(flags, o.apiFlags(), o.workerFlags(), o.blueprintFlags(), o.commonFlags(time.Hour)),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			o.drainDelaySet = cmd.IsSet("drain-delay")
			return runDev(ctx, &o, cmd.Root().Writer)
		},
	}
}

// defaultData is the data folder below a user's data home.
func defaultData(home string) string { return filepath.Join(home, "drydock") }

func runDev(ctx context.Context, o *options, out io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	bps, source, err := devBlueprints(o)
	if err != nil {
		return err
	}
	door, err := o.access.open(o.logger())
	if err != nil {
		return err
	}
	ln, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	if err := door.checkAddress(ln.Addr(), o.logger()); err != nil {
		_ = ln.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	redis, err := startDevRedis(ctx, o)
	if err != nil {
		_ = ln.Close()
		return err
	}
	// Redis goes last, when nobody needs it any more.
	defer redis.stop()
	o.redis = redis.url
	s, err := newService(o)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.declare(ctx, bps); err != nil {
		return err
	}
	errs := make(chan error, 2)
	locker, err := s.newLocker()
	if err != nil {
		return err
	}
	waitWorker, err := s.startWorker(ctx, locker)
	if err != nil {
		return err
	}
	waitAPI := s.startAPI(ctx, ln, door, errs)
	greet(out, door, ln.Addr(), redis.about, source, bps)
	select {
	case err = <-errs:
	case <-redis.died:
		err = fmt.Errorf("the embedded Redis has died: %w", redis.err())
	case <-ctx.Done():
		fmt.Fprintln(out, "\nStopping.")
	}
	cancel()
	waitAPI()
	waitWorker()
	return err
}

// devBlueprints returns what to declare and says where it comes from.
func devBlueprints(o *options) ([]*model.Blueprint, string, error) {
	known, err := kinds(o)
	if err != nil {
		return nil, "", err
	}
	if o.blueprints != "" {
		bps, err := blueprints.ReadFile(o.blueprints, known)
		return bps, o.blueprints, err
	}
	bps, err := blueprints.Parse(examples.DefaultName, examples.Default(), known)
	return bps, "the built-in example", err
}

// devRedis is the Redis of `drydock dev`.
type devRedis struct {
	url, about string
	stop       func()
	died       <-chan struct{}
	err        func() error
}

func startDevRedis(ctx context.Context, o *options) (*devRedis, error) {
	dir := o.data
	if dir == "" {
		home := os.Getenv("XDG_DATA_HOME")
		if home == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return nil, model.Invalid("--data", "is needed, because there is no home folder: %s", err)
			}
			home = filepath.Join(user, ".local", "share")
		}
		dir = defaultData(home)
	}
	server, err := embedded.StartServer(ctx, embedded.Config{Dir: dir, AppendOnly: true})
	if errors.Is(err, embedded.ErrNoServer) {
		memory, err := embedded.StartMemory(ctx)
		if err != nil {
			return nil, err
		}
		return &devRedis{
			url: memory.URL(), stop: memory.Stop,
			about: "in memory at " + memory.URL() + "\n              WARNING: " + whyNoServer() + ", so everything is forgotten when this stops",
		}, nil
	}
	if err != nil {
		return nil, err
	}
	return &devRedis{
		url: server.URL(), about: server.URL() + ", data in " + dir, died: server.Done(), err: server.Err,
		stop: server.Stop,
	}, nil
}

// whyNoServer says why there is no program to run a Redis with.
func whyNoServer() string {
	if name := os.Getenv(embedded.EnvServer); name != "" {
		return fmt.Sprintf("%s is %q, which is no program that can be run", embedded.EnvServer, name)
	}
	return "there is no redis-server or valkey-server on PATH"
}

// greet says what is where and what to try.
func greet(out io.Writer, door *access, addr net.Addr, redis, source string, bps []*model.Blueprint) {
	url := door.url(addr)
	fmt.Fprintf(out, `Drydock %s is running. Ctrl-C stops all of it.

  API         %s/v1   (%s/openapi.json)
  Asynqmon    %s/asynqmon/
  Redis       %s
  Blueprints  from %s:
`, version, url, url, url, redis, source)
	typ := "host"
	for i, bp := range bps {
		if i == 0 {
			typ = bp.Type
		}
		fmt.Fprintf(out, "                %s: a %s of type %q in namespace %q\n", bp.Name, bp.Kind, bp.Type, bp.Namespace)
	}
	fmt.Fprintf(out, `
Try%[3]s:
  curl -s -X POST %[1]s/v1/leases -d '{"type": %[2]q, "owner": "me"}'     # lease one
  curl -s '%[1]s/v1/leases?limit=1'                                     # see it
  curl -s -X POST %[1]s/v1/leases/ID/release -d '{"reason": "done"}'      # give it back
  curl -s %[1]s/v1/leases/ID/commands                                   # who asked for what, and what came of it

`, url, typ, tokenHint(door))
}

// tokenHint says what else curl has to be told.
func tokenHint(door *access) string {
	if door.auth == nil {
		return ""
	}
	return `, with -H "Authorization: Bearer $TOKEN"`
}
