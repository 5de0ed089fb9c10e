package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"drydock/tasks"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Concurrency is how many updates run at once, and while they do no more tasks are taken. Default 50: they wait for Redis more than
	// they compute.
	Concurrency int
	// DispatchInterval is the longest that a server waits before it looks again for tasks that others took before it, and how often it
	// looks where it cannot wait for them ([tasks.Waiting]). Default 10 ms.
	DispatchInterval time.Duration
	// ShutdownTimeout is how long running updates may take to end. Default 8 s.
	ShutdownTimeout time.Duration
	// Logger gets asynq's own messages. Default slog.Default().
	Logger *slog.Logger
}

// Server takes update tasks from asynq and runs them.
type Server struct {
	asynq   *asynq.Server
	handler *batcher
	cfg     ServerConfig
	// hurry ends the waiting for tasks.
	hurry context.CancelFunc
}

// stopGrace is how long after the shutdown timeout asynq may take to put its things away, which are calls to Redis.
const stopGrace = time.Second

// NewServer returns a server that runs the updater's tasks. It makes a client of its own from opt, which should be slow to
// answer while Redis is away: asynq asks again at once.
func NewServer(opt asynq.RedisConnOpt, u *Updater, cfg ServerConfig) *Server {
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 50
	}
	if cfg.DispatchInterval <= 0 {
		cfg.DispatchInterval = 10 * time.Millisecond
	}
	if cfg.ShutdownTimeout <= 0 {
		cfg.ShutdownTimeout = 8 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	ctx, hurry := context.WithCancel(context.Background())
	batches := newBatcher(u, cfg.Logger)
	return &Server{
		handler: batches,
		cfg:     cfg,
		hurry:   hurry,
		asynq: asynq.NewServer(tasks.Waiting(ctx, opt, cfg.DispatchInterval, batches.awaitSlot), asynq.Config{
			Concurrency:       cfg.Concurrency,
			Queues:            map[string]int{tasks.Queue: 1},
			TaskCheckInterval: tasks.PollInterval,
			ShutdownTimeout:   cfg.ShutdownTimeout,
			// The wake index brings objects back; asynq's retries only tidy up after themselves.
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 15 * time.Second },
			ErrorHandler: asynq.ErrorHandlerFunc(func(_ context.Context, t *asynq.Task, err error) {
				refs, bad := tasks.Parse(t.Type(), t.Payload())
				switch {
				case bad == nil && len(refs) == 1:
					cfg.Logger.Warn("update failed", "object", refs[0].String(), "error", err)
					return
				case bad == nil:
					cfg.Logger.Warn("update failed", "objects", fmt.Sprint(refs), "error", err)
					return
				}
				cfg.Logger.Warn("task refused", "task", t.Type(), "payload", string(t.Payload()), "error", err)
			}),
			Logger:   asynqLogger{cfg.Logger.With("component", "asynq")},
			LogLevel: asynq.WarnLevel,
		}),
	}
}

// Start begins to take tasks.
func (s *Server) Start() error {
	s.handler.start(s.cfg.Concurrency)
	if err := s.asynq.Start(s.handler); err != nil {
		s.handler.stop()
		return fmt.Errorf("start worker: %w", err)
	}
	return nil
}

// Stop takes no more tasks and waits for the running ones, at most the shutdown timeout and a little. What is cut off is recorded in
// the wake index and done by somebody else.
func (s *Server) Stop() {
	s.hurry()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.asynq.Stop()
		s.asynq.Shutdown()
	}()
	over := time.NewTimer(s.cfg.ShutdownTimeout + stopGrace)
	defer over.Stop()
	select {
	case <-done:
	case <-over.C:
		// While Redis is away, asynq's goodbye takes most of a minute. Nothing needs it.
		s.cfg.Logger.Warn("asynq does not stop in time; going on without it")
	}
	s.handler.stop()
}

// asynqLogger gives asynq's messages to slog.
type asynqLogger struct{ log *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.log.Debug(join(args)) }
func (l asynqLogger) Info(args ...any)  { l.log.Info(join(args)) }
func (l asynqLogger) Warn(args ...any)  { l.log.Warn(join(args)) }
func (l asynqLogger) Error(args ...any) { l.log.Error(join(args)) }

// Fatal does not exit: the process decides what to do without its worker.
func (l asynqLogger) Fatal(args ...any) { l.log.Error(join(args)) }

func join(args []any) string { return strings.TrimSpace(fmt.Sprintln(args...)) }
