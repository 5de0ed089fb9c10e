package asynqmon

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
)

const root = "/asynqmon"

// serve starts the dashboard with one pending task, over an embedded Redis: the dashboard is not what decides about Redis.
func serve(t *testing.T, readOnly bool) *httptest.Server {
	t.Helper()
	opt := asynq.RedisClientOpt{Addr: miniredis.RunT(t).Addr()}
	client := asynq.NewClient(opt)
	defer client.Close()
	task := asynq.NewTask("lease:update", []byte(`{"namespace":"ci","id":"01abc"}`))
	if _, err := client.EnqueueContext(t.Context(), task, asynq.Queue("updates")); err != nil {
		t.Fatal(err)
	}
	ui := Handler(opt, root, readOnly)
	mux := http.NewServeMux()
	mux.Handle(root, ui)
	mux.Handle(root+"/", ui)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		srv.Close()
		if err := ui.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return srv
}

func do(t *testing.T, srv *httptest.Server, method, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPageIsRootedWhereItIsMounted(t *testing.T) {
	t.Parallel()
	srv := serve(t, false)
	for _, path := range []string{root, root + "/", root + "/queues/updates"} {
		status, body := do(t, srv, http.MethodGet, path)
		if status != http.StatusOK || !strings.Contains(body, `"`+root) && !strings.Contains(body, root+"/static") {
			t.Errorf("GET %s = %d %.300s", path, status, body)
		}
		if strings.Contains(body, "https://") {
			t.Errorf("GET %s loads something from elsewhere: %s", path, body)
		}
	}
}

func TestTasksAreShownWithAReadablePayload(t *testing.T) {
	t.Parallel()
	srv := serve(t, false)
	status, body := do(t, srv, http.MethodGet, root+"/api/queues/updates/pending_tasks")
	var got struct {
		Tasks []struct{ Type, Payload string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || len(got.Tasks) != 1 {
		t.Fatalf("pending tasks = %d %s: %v", status, body, err)
	}
	if want := `{"namespace":"ci","id":"01abc","see":"/v1/leases/01abc?namespace=ci"}`; got.Tasks[0].Payload != want {
		t.Errorf("payload = %s, want %s", got.Tasks[0].Payload, want)
	}
}

func TestQueuesCanBePausedUnlessReadOnly(t *testing.T) {
	t.Parallel()
	for readOnly, want := range map[bool]int{false: http.StatusNoContent, true: http.StatusMethodNotAllowed} {
		if status, body := do(t, serve(t, readOnly), http.MethodPost, root+"/api/queues/updates:pause"); status != want {
			t.Errorf("pause with readOnly=%t = %d %s, want %d", readOnly, status, body, want)
		}
	}
}

func TestFormatPayload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ taskType, payload, want string }{
		{"resource:update", `{"namespace":"default","id":"x"}`, `{"namespace":"default","id":"x","see":"/v1/resources/x?namespace=default"}`},
		{
			"batch:update", `{"namespace":"ci","objects":["lease:x","blueprint:lab"]}`,
			`{"namespace":"ci","objects":["lease:x","blueprint:lab"],"see":["/v1/leases/x?namespace=ci","/v1/blueprints/lab?namespace=ci"]}`,
		},
		{"batch:update", `{"namespace":"ci","objects":[]}`, `{"namespace":"ci","objects":[]}`},
		{"batch:update", `{"namespace":"ci","objects":["lease:x","y"]}`, `{"namespace":"ci","objects":["lease:x","y"]}`},
		{"batch:update", `{"namespace":"ci","id":"x"}`, `{"namespace":"ci","id":"x"}`},
		{"other", `{"namespace":"default","id":"x"}`, `{"namespace":"default","id":"x"}`},
		{"lease:update", `{"id":"x"}`, `{"id":"x"}`},
		{"lease:update", `plain`, `plain`},
		{"lease:update", "\x00\x01", "non-printable bytes"},
	} {
		if got := formatPayload(tt.taskType, []byte(tt.payload)); got != tt.want {
			t.Errorf("formatPayload(%s, %q) = %s, want %s", tt.taskType, tt.payload, got, tt.want)
		}
	}
}
