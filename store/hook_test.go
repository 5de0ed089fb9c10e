package store

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// afterHook runs do after each command of a name, or after each pipeline when the name is "exec".
type afterHook struct {
	name string
	do   func()
}

func (h *afterHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *afterHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == h.name {
			h.do()
		}
		return err
	}
}

func (h *afterHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if h.name == "exec" {
			h.do()
		}
		return err
	}
}
