package tasks_test

import (
	"fmt"
	"slices"
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
	for _, ref := range []model.Ref{model.LeaseRef("ci", model.NewID()), model.ResourceRef("default", model.NewID()), model.BlueprintRef("ci", "lab")} {
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
		if err != nil || !slices.Equal(got, []model.Ref{ref}) {
			t.Errorf("Parse(%s, %s) = %v, %v, want %v", task.Type(), task.Payload(), got, err, ref)
		}
	}
}

func leases(n int) []model.Ref {
	refs := make([]model.Ref, n)
	for i := range refs {
		refs[i] = model.LeaseRef("ci", model.NewID())
	}
	return refs
}

func TestNewAndParseOfABatch(t *testing.T) {
	t.Parallel()
	lease, resource := model.LeaseRef("ci", model.NewID()), model.ResourceRef("ci", model.NewID())
	task, err := tasks.New(lease, resource, model.BlueprintRef("ci", "lab"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"namespace":"ci","objects":["lease:%s","resource:%s","blueprint:lab"]}`, lease.ID, resource.ID)
	if task.Type() != "batch:update" || string(task.Payload()) != want {
		t.Errorf("task %s %s, want batch:update %s", task.Type(), task.Payload(), want)
	}
	full := leases(tasks.MaxBatch)
	if task, err = tasks.New(full...); err != nil {
		t.Fatal(err)
	}
	if got, err := tasks.Parse(task.Type(), task.Payload()); err != nil || !slices.Equal(got, full) {
		t.Errorf("Parse(%s) = %v, %v, want %v", task.Payload(), got, err, full)
	}
	for what, refs := range map[string][]model.Ref{
		"nothing":            nil,
		"too many":           leases(tasks.MaxBatch + 1),
		"several namespaces": {lease, model.LeaseRef("other", lease.ID)},
		"one object twice":   {lease, resource, lease},
	} {
		if task, err := tasks.New(refs...); err == nil {
			t.Errorf("New of %s = %s, want an error", what, task.Payload())
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
	one, other := "lease:"+id, "resource:"+id
	batch := func(namespace string, objects ...string) string {
		return fmt.Sprintf(`{"namespace":%q,"objects":["%s"]}`, namespace, strings.Join(objects, `","`))
	}
	var many []string
	for range tasks.MaxBatch + 1 {
		many = append(many, "lease:"+model.NewID())
	}
	if _, err := tasks.Parse(tasks.TypeBatchUpdate, []byte(batch("ci", one, other))); err != nil {
		t.Fatalf("a good batch: %v", err)
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
		{tasks.TypeLeaseUpdate, batch("ci", one, other)}, {tasks.TypeBatchUpdate, good}, {tasks.TypeBatchUpdate, ""},
		{tasks.TypeBatchUpdate, `{"namespace":"ci","objects":[]}`}, {tasks.TypeBatchUpdate, `{"namespace":"ci","objects":"` + one + `"}`},
		{tasks.TypeBatchUpdate, batch("ci", one)}, {tasks.TypeBatchUpdate, batch("ci", many...)},
		{tasks.TypeBatchUpdate, batch("ci", one, other, one)}, {tasks.TypeBatchUpdate, batch("", one, other)},
		{tasks.TypeBatchUpdate, batch("c}i", one, other)}, {tasks.TypeBatchUpdate, batch("ci", one, "lease:x")},
		{tasks.TypeBatchUpdate, batch("ci", one, "host:"+id)}, {tasks.TypeBatchUpdate, batch("ci", one, id)},
		{tasks.TypeBatchUpdate, batch("ci", one, "blueprint:a:b")}, {tasks.TypeBatchUpdate, batch("ci", one, "")},
		{tasks.TypeBatchUpdate, batch("ci", one, other) + "x"},
	} {
		if refs, err := tasks.Parse(tt.typ, []byte(tt.payload)); err == nil || refs != nil {
			t.Errorf("Parse(%q, %q) = %v, %v, want an error", tt.typ, tt.payload, refs, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("lease:update", []byte(`{"namespace":"ci","id":"01234567890123456789012345"}`))
	f.Add("resource:update", []byte(`{}`))
	f.Add("batch:update", []byte(`{"namespace":"ci","objects":["lease:01234567890123456789012345","blueprint:lab"]}`))
	f.Add("x", []byte(``))
	f.Fuzz(func(t *testing.T, typ string, payload []byte) {
		refs, err := tasks.Parse(typ, payload)
		if err != nil {
			return
		}
		task, err := tasks.New(refs...)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := tasks.Parse(task.Type(), task.Payload()); err != nil || !slices.Equal(again, refs) || task.Type() != typ {
			t.Errorf("Parse(%q, %q) = %v, and of its own task %v, %v", typ, payload, refs, again, err)
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
	for _, refs := range [][]model.Ref{{lease, resource}, {lease}} {
		if err := client.Enqueue(t.Context(), refs...); err != nil {
			t.Fatal(err)
		}
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
		"batch:update": fmt.Sprintf(`{"namespace":"ci","objects":["lease:%s","resource:%s"]}`, lease.ID, resource.ID),
		"lease:update": fmt.Sprintf(`{"namespace":"ci","id":%q}`, lease.ID),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payloads by type (-want +got):\n%s", diff)
	}
	if err := client.Enqueue(t.Context()); err != nil {
		t.Errorf("enqueue of nobody: %v", err)
	}
}

// TestEnqueueOfOneObjectTwice: a task that waits, runs or is retained must not keep the next one out, or the word that came in
// after its last look would be lost. Two words at the same time are one task's business.
func TestEnqueueOfOneObjectTwice(t *testing.T) {
	t.Parallel()
	client, inspector := queue(t, redistest.Shared(t), 2, time.Hour)
	ref := model.LeaseRef("ci", model.NewID())
	for range 3 {
		if err := client.Enqueue(t.Context(), ref, ref); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := inspector.GetQueueInfo(tasks.Queue); err != nil || info.Pending != 3 {
		t.Errorf("queue %+v, %v, want three tasks", info, err)
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
	one, other := model.LeaseRef("ci", model.NewID()), model.ResourceRef("elsewhere", model.NewID())
	err := client.Enqueue(t.Context(), one, other)
	if err == nil || !strings.Contains(err.Error(), one.String()) || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("error %v, want it to name %s and %s", err, one, other)
	}
}
