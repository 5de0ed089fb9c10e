package tasks_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9/logging"

	"drydock/embedded"
	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/tasks"
)

func TestMain(m *testing.M) {
	logging.Disable() // a test without a Redis would fill the screen
	redistest.Main(m)
}

func TestNewAndParse(t *testing.T) {
	t.Parallel()
	for _, ref := range []model.Ref{model.LeaseRef("ci", model.NewID()), model.ResourceRef("default", model.NewID())} {
		task, err := tasks.New(ref)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"namespace":%q,"id":%q}`, ref.Namespace, ref.ID); string(task.Payload()) != want {
			t.Errorf("payload %s, want %s", task.Payload(), want)
		}
		if want := string(ref.Kind) + ":update"; task.Type() != want || tasks.Type(ref.Kind) != want {
			t.Errorf("type %s, want %s", task.Type(), want)
		}
		got, err := tasks.Parse(task.Type(), task.Payload())
		if err != nil || got != ref {
			t.Errorf("Parse(%s, %s) = %v, %v, want %v", task.Type(), task.Payload(), got, err, ref)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	id := model.NewID()
	good := fmt.Sprintf(`{"namespace":"ci","id":%q}`, id)
	if _, err := tasks.Parse(tasks.TypeLeaseUpdate, []byte(good)); err != nil {
		t.Fatalf("a good payload: %v", err)
	}
	for _, tt := range []struct{ typ, payload string }{
		{"", good}, {"lease:release", good}, {"update", good}, {"Lease:update", good}, {"blueprint:release", good},
		{tasks.TypeBlueprintUpdate, `{"namespace":"ci","id":"a:b"}`}, {tasks.TypeBlueprintUpdate, `{"namespace":"ci","id":""}`},
		{tasks.TypeLeaseUpdate, ""}, {tasks.TypeLeaseUpdate, "{"}, {tasks.TypeLeaseUpdate, "null"}, {tasks.TypeLeaseUpdate, "{}"},
		{tasks.TypeLeaseUpdate, "[]"}, {tasks.TypeLeaseUpdate, `"ci"`}, {tasks.TypeLeaseUpdate, good + good},
		{tasks.TypeLeaseUpdate, fmt.Sprintf(`{"id":%q}`, id)},
		{tasks.TypeLeaseUpdate, fmt.Sprintf(`{"namespace":"","id":%q}`, id)},
		{tasks.TypeLeaseUpdate, fmt.Sprintf(`{"namespace":"c}i","id":%q}`, id)},
		{tasks.TypeLeaseUpdate, fmt.Sprintf(`{"namespace":1,"id":%q}`, id)},
		{tasks.TypeLeaseUpdate, `{"namespace":"ci"}`},
		{tasks.TypeLeaseUpdate, `{"namespace":"ci","id":"x"}`},
		{tasks.TypeLeaseUpdate, fmt.Sprintf(`{"namespace":"ci","id":%q}`, strings.ToUpper(id))},
		{tasks.TypeResourceUpdate, fmt.Sprintf(`{"namespace":"ci","id":"%s:x"}`, id)},
	} {
		if ref, err := tasks.Parse(tt.typ, []byte(tt.payload)); err == nil || ref != (model.Ref{}) {
			t.Errorf("Parse(%q, %q) = %v, %v, want an error", tt.typ, tt.payload, ref, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("lease:update", []byte(`{"namespace":"ci","id":"01234567890123456789012345"}`))
	f.Add("resource:update", []byte(`{}`))
	f.Add("x", []byte(``))
	f.Fuzz(func(t *testing.T, typ string, payload []byte) {
		ref, err := tasks.Parse(typ, payload)
		if err != nil {
			return
		}
		task, err := tasks.New(ref)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := tasks.Parse(task.Type(), task.Payload()); err != nil || again != ref || task.Type() != typ {
			t.Errorf("Parse(%q, %q) = %v, and of its own task %v, %v", typ, payload, ref, again, err)
		}
	})
}

// queue is a client and what lets the test see its queue, in a database of its own.
func queue(t *testing.T, server *embedded.Server, db int, retention time.Duration) (*tasks.Client, *asynq.Inspector) {
	t.Helper()
	opt := asynq.RedisClientOpt{Addr: server.Addr(), DB: db, DialTimeout: 300 * time.Millisecond}
	client, inspector := asynq.NewClient(opt), asynq.NewInspector(opt)
	t.Cleanup(func() {
		_ = client.Close()
		_ = inspector.Close()
	})
	return tasks.NewClient(client, retention), inspector
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	client, inspector := queue(t, redistest.Shared(t), 1, time.Hour)
	lease, resource := model.LeaseRef("ci", model.NewID()), model.ResourceRef("ci", model.NewID())
	if err := client.Enqueue(t.Context(), lease, resource); err != nil {
		t.Fatal(err)
	}
	queues, err := inspector.Queues()
	if diff := cmp.Diff([]string{tasks.Queue}, queues); diff != "" || err != nil {
		t.Errorf("queues: %v (-want +got):\n%s", err, diff)
	}
	pending, err := inspector.ListPendingTasks(tasks.Queue)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, task := range pending {
		got[task.Type] = string(task.Payload)
		if task.Retention != time.Hour || task.MaxRetry < 1 || !task.Deadline.IsZero() {
			t.Errorf("task %s: retention %v, retries %d, deadline %v", task.Type, task.Retention, task.MaxRetry, task.Deadline)
		}
		// asynq turns anything below a second into 30 minutes.
		if task.Timeout < time.Hour {
			t.Errorf("task %s: timeout %v, want longer than any hook", task.Type, task.Timeout)
		}
	}
	want := map[string]string{
		"lease:update":    fmt.Sprintf(`{"namespace":"ci","id":%q}`, lease.ID),
		"resource:update": fmt.Sprintf(`{"namespace":"ci","id":%q}`, resource.ID),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payloads by type (-want +got):\n%s", diff)
	}
	if err := client.Enqueue(t.Context()); err != nil {
		t.Errorf("enqueue of nobody: %v", err)
	}
}

// TestEnqueueOfOneObjectTwice: a task that waits, runs or is retained must not keep the next one out, or the word that came in
// after its last look would be lost.
func TestEnqueueOfOneObjectTwice(t *testing.T) {
	t.Parallel()
	client, inspector := queue(t, redistest.Shared(t), 2, time.Hour)
	ref := model.LeaseRef("ci", model.NewID())
	for range 3 {
		if err := client.Enqueue(t.Context(), ref, ref); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := inspector.GetQueueInfo(tasks.Queue); err != nil || info.Pending != 6 {
		t.Errorf("queue %+v, %v, want six tasks", info, err)
	}
}

// TestRetention: zero keeps no completed task.
func TestRetention(t *testing.T) {
	t.Parallel()
	client, inspector := queue(t, redistest.Shared(t), 3, 0)
	if err := client.Enqueue(t.Context(), model.LeaseRef("ci", model.NewID())); err != nil {
		t.Fatal(err)
	}
	pending, err := inspector.ListPendingTasks(tasks.Queue)
	if err != nil || len(pending) != 1 || pending[0].Retention != 0 {
		t.Errorf("pending %+v, %v, want one task without retention", pending, err)
	}
}

// TestEnqueueWithoutRedis tells of every object that the sweeper has to find.
func TestEnqueueWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client, _ := queue(t, server, 0, 0)
	server.Stop()
	one, other := model.LeaseRef("ci", model.NewID()), model.ResourceRef("ci", model.NewID())
	err := client.Enqueue(t.Context(), one, other)
	if err == nil || !strings.Contains(err.Error(), one.String()) || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("error %v, want it to name %s and %s", err, one, other)
	}
}
