package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

func apiCommand() *cli.Command {
	var o options
	return &cli.Command{
		Name:  "api",
		Usage: "serve the HTTP API, Asynqmon and metrics",
		Flags: slices.Concat([]cli.Flag{
			o.redisFlag(), o.listenFlag("127.0.0.1:8080", "`ADDR` to serve on"), o.blueprintsFlag(),
		}, o.apiFlags(), o.blueprintFlags(), o.commonFlags(10*time.Minute)),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			o.drainDelaySet = cmd.IsSet("drain-delay")
			return runAPI(ctx, &o)
		},
	}
}

func runAPI(ctx context.Context, o *options) error {
	s, err := newService(o)
	if err != nil {
		return err
	}
	defer s.close()
	var bps []*model.Blueprint
	if o.blueprints != "" {
		if bps, err = blueprints.ReadFile(o.blueprints, s.kinds); err != nil {
			return err
		}
	}
	door, err := o.access.open(s.log)
	if err != nil {
		return err
	}
	door.onHangUp = true
	ln, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	if err := door.checkAddress(ln.Addr(), s.log); err != nil {
		_ = ln.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 1)
	wait := s.startAPI(ctx, ln, door, errs)
	s.log.Info("serving the API", "url", door.url(ln.Addr()), "authentication", door.auth != nil, "redis", store.Redact(o.redis), "version", version)
	prepared := s.prepare(ctx, bps)
	select {
	case err = <-errs:
	case err = <-prepared:
		if err == nil {
			select {
			case err = <-errs:
			case <-ctx.Done():
			}
		}
	case <-ctx.Done():
	}
	cancel()
	wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare waits for Redis, checks that it can do what is asked of it and declares the blueprints. Meanwhile the API answers, with
// 503 where it needs Redis.
func (s *service) prepare(ctx context.Context, bps []*model.Blueprint) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- s.waitForRedis(ctx, func(ctx context.Context) error {
			if err := s.store.Ping(ctx); err != nil {
				return err
			}
			if err := s.store.CheckDurability(ctx); err != nil {
				return err
			}
			var err error
			bps, err = s.declare(ctx, bps)
			return err
		})
	}()
	return done
}
