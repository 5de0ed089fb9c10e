package tasks

import (
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// Depth is how full the queue is.
type Depth struct {
	// Tasks counts the tasks by asynq's name for their state: pending, active, scheduled, retry, archived, completed.
	Tasks map[string]int
	// Latency is how long the oldest pending task has been waiting.
	Latency time.Duration
}

// Inspector looks at the queue.
type Inspector struct{ asynq *asynq.Inspector }

// NewInspector returns an Inspector.
func NewInspector(i *asynq.Inspector) *Inspector { return &Inspector{asynq: i} }

// Depth reads how full the queue is; one that nobody has put a task in yet is empty.
func (i *Inspector) Depth() (Depth, error) {
	info, err := i.asynq.GetQueueInfo(Queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		info, err = &asynq.QueueInfo{}, nil
	}
	if err != nil {
		return Depth{}, fmt.Errorf("read the task queue: %w", err)
	}
	return Depth{
		Tasks: map[string]int{
			"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
			"archived": info.Archived, "completed": info.Completed,
		},
		Latency: info.Latency,
	}, nil
}
