package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/store"
)

func workerCommand() *cli.Command {
	var o options
	flags := []cli.Flag{
		o.redisFlag(),
		o.listenFlag("", "`ADDR` to serve /healthz, /readyz and /metrics on; default none"),
		&cli.StringSliceFlag{
			Name: "namespace", Sources: env("namespace"), Destination: &o.namespaces,
			Usage: "serve only the namespace `NAME` (repeatable); default all",
		},
	}
	return &cli.Command{
		Name:   "worker",
		Usage:  "update leases and resources; start as many as you like",
		Flags:  slices.Concat(flags, o.workerFlags(), o.blueprintFlags(), o.commonFlags(10*time.Minute)),
		Action: func(ctx context.Context, _ *cli.Command) error { return runWorker(ctx, &o) },
	}
}

func runWorker(ctx context.Context, o *options) error {
	s, err := newService(o)
	if err != nil {
		return err
	}
	defer s.close()
	locker, err := s.newLocker()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 1)
	if o.listen != "" {
		ln, err := listen(ctx, o.listen)
		if err != nil {
			return err
		}
		defer s.startProbe(ctx, ln, errs)()
		defer cancel()
	}
	if err := s.waitForRedis(ctx, s.store.Ping); err != nil {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	wait, err := s.startWorker(ctx, locker)
	if err != nil {
		return err
	}
	s.log.Info("worker is running", "worker", workerName(), "redis", store.Redact(o.redis), "concurrency", o.concurrency, "version", version)
	select {
	case err = <-errs:
	case <-ctx.Done():
	}
	cancel()
	s.log.Info("worker is stopping")
	wait()
	return err
}
