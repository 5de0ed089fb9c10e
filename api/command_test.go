package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drydock/model"
)

// sending is a store's Send that keeps the command and answers that it was stored.
func sending(got *model.Command) func(context.Context, model.Command, model.Idempotency) (model.Sent, error) {
	return func(_ context.Context, cmd model.Command, _ model.Idempotency) (model.Sent, error) {
		*got = cmd
		sent := model.Sent{Command: &cmd, Wake: []model.Ref{cmd.Target}}
		if cmd.Target.Kind == model.KindLease {
			sent.Lease = activeLease(cmd.Target.Namespace)
		} else {
			sent.Resource = activeResource(cmd.Target.Namespace)
		}
		return sent, nil
	}
}

func TestCommandsReachTheStore(t *testing.T) {
	t.Parallel()
	lease, resource := model.LeaseRef("default", leaseID), model.ResourceRef("ci", resourceID)
	anybody := model.Origin{Via: model.ViaAPI, Address: "127.0.0.1", UserAgent: "test/1", RequestID: fixedID}
	tests := []struct {
		name, path, body string
		headers          []string
		want             model.Command
	}{
		{
			"release without a body", "/v1/leases/" + leaseID + "/release", "", nil,
			model.Command{Target: lease, Name: model.CommandRelease, Author: "anonymous", Origin: anybody},
		},
		{
			"release with a blank body of any type", "/v1/leases/" + leaseID + "/release", "\n", []string{"Content-Type: text/plain"},
			model.Command{Target: lease, Name: model.CommandRelease, Author: "anonymous", Origin: anybody},
		},
		{
			"release with a reason", "/v1/resources/" + resourceID + "/release?namespace=ci", `{"reason": "kernel\nupdate"}`,
			[]string{"Drydock-Author: Ada Lövelace", "Drydock-Via: console"},
			model.Command{
				Target: resource, Name: model.CommandRelease, Author: "Ada Lövelace", Reason: "kernel\nupdate",
				Origin: model.Origin{Via: model.ViaConsole, Address: "127.0.0.1", UserAgent: "test/1", RequestID: fixedID},
			},
		},
		{
			"a header cannot pretend to be a worker or to come from elsewhere", "/v1/leases/" + leaseID + "/release", "",
			[]string{"Drydock-Via: worker", "X-Forwarded-For: 203.0.113.9", "X-Real-Ip: 203.0.113.9"},
			model.Command{Target: lease, Name: model.CommandRelease, Author: "anonymous", Origin: anybody},
		},
		{
			"extend", "/v1/leases/" + leaseID + "/commands", `{"command": "extend", "args": {"ttl": "30m"}, "reason": "more"}`, []string{"Drydock-Via: cli"},
			model.Command{
				Target: lease, Name: model.CommandExtend, Args: json.RawMessage(`{"ttl": "30m"}`), Author: "anonymous", Reason: "more",
				Origin: model.Origin{Via: model.ViaCLI, Address: "127.0.0.1", UserAgent: "test/1", RequestID: fixedID},
			},
		},
		{
			"no arguments", "/v1/resources/" + resourceID + "/commands?namespace=ci", `{"command": "pause", "args": null}`, nil,
			model.Command{Target: resource, Name: model.CommandPause, Author: "anonymous", Origin: anybody},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got model.Command
			a := newAPI(t, &fakeStore{send: sending(&got)})
			answer := a.do(http.MethodPost, tt.path, tt.body, tt.headers...)
			if answer.status != http.StatusAccepted {
				t.Fatalf("= %d %s, want 202", answer.status, answer.body)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(model.Command{}, "ID", "SentAt")); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			if !model.ValidID(got.ID) || !got.SentAt.Equal(testNow) {
				t.Errorf("id %q sent at %s", got.ID, got.SentAt)
			}
			if diff := cmp.Diff([]model.Ref{tt.want.Target}, a.tasks.enqueued()); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedCommandIsAConflict(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{send: func(context.Context, model.Command, model.Idempotency) (model.Sent, error) {
		return model.Sent{}, model.Errorf(model.ErrorConflict, "a released lease takes no extend")
	}})
	got := a.do(http.MethodPost, "/v1/leases/"+leaseID+"/commands", `{"command": "extend", "args": {"ttl": "1m"}}`)
	if p := got.problem(t); got.status != http.StatusConflict || p.Code != "conflict" || p.Detail != "a released lease takes no extend" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestUserAgentIsMadeFitToShow(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"curl/8":                       "curl/8",
		"\xff\t\u009b":                 "???",
		strings.Repeat("é", 200):       strings.Repeat("é", 128),
		"a" + strings.Repeat("é", 200): "a" + strings.Repeat("é", 127) + "?",
	} {
		if got := plainText(in, maxUserAgent); got != want {
			t.Errorf("plainText(%.20q) = %q, want %q", in, got, want)
		}
	}
}

func TestListsOfAnObject(t *testing.T) {
	t.Parallel()
	type asked struct {
		What  string
		Ref   model.Ref
		Limit int
		After string
	}
	var got []asked
	a := newAPI(t, &fakeStore{
		commands: func(ref model.Ref, limit int, after string) (model.Page[*model.Command], error) {
			got = append(got, asked{"commands", ref, limit, after})
			return model.Page[*model.Command]{}, nil
		},
		log: func(ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error) {
			got = append(got, asked{"logs", ref, limit, after})
			return model.Page[model.LogEntry]{}, nil
		},
		slots: func(ref model.Ref) ([]model.Slot, error) {
			return nil, model.ErrResourceNotFound
		},
	})
	a.do(http.MethodGet, "/v1/leases/"+leaseID+"/commands?limit=2&after=x", "")
	a.do(http.MethodGet, "/v1/resources/"+resourceID+"/logs?namespace=ci", "")
	want := []asked{
		{"commands", model.LeaseRef("default", leaseID), 2, "x"},
		{"logs", model.ResourceRef("ci", resourceID), 50, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if got := a.do(http.MethodGet, "/v1/resources/"+resourceID+"/slots", ""); got.status != http.StatusNotFound || got.problem(t).Code != "not_found" {
		t.Errorf("slots of nothing = %d %s", got.status, got.body)
	}
}
