package tasks

import (
	"fmt"
	"slices"
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

// Info reads the queue; nil, and no error, when asynq does not know of it: nobody has put a task in yet, or asynq's keys were lost a moment ago.
func Info(i *asynq.Inspector) (*asynq.QueueInfo, error) {
	info, err := i.GetQueueInfo(Queue)
	if err == nil {
		return info, nil
	}
	// The error for a queue that is not there is of a type of asynq's own, which is not [asynq.ErrQueueNotFound].
	if names, e := i.Queues(); e == nil && !slices.Contains(names, Queue) {
		return nil, nil
	}
	return nil, err
}

// Depth reads how full the queue is; one that nobody has put a task in yet is empty.
func (i *Inspector) Depth() (Depth, error) {
	info, err := Info(i.asynq)
	if err != nil {
		return Depth{}, fmt.Errorf("read the task queue: %w", err)
	}
	if info == nil {
		info = &asynq.QueueInfo{}
	}
	return Depth{
		Tasks: map[string]int{
			"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
			"archived": info.Archived, "completed": info.Completed,
		},
		Latency: info.Latency,
	}, nil
}
