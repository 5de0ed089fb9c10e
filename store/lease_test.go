package store

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// queued is what creating a plain lease of type host at start writes.
func queued(id string) expect {
	return expect{
		"lease:" + id + " schema": "1", "lease:" + id + " id": id, "lease:" + id + " type": "host",
		"lease:" + id + " status": "pending", "lease:" + id + " owner": "", "lease:" + id + " attributes": "",
		"lease:" + id + " blueprints": "", "lease:" + id + " priority": "0", "lease:" + id + " shape": plain,
		"lease:" + id + " version": "0", "lease:" + id + " writer": "", "lease:" + id + " fence": "0", "lease:" + id + " releases": "0",
		"lease:" + id + " resource": "", "lease:" + id + " blueprint": "", "lease:" + id + " slots": "",
		"lease:" + id + " created": at(0), "lease:" + id + " updated": at(0), "lease:" + id + " order": at(0),
		"lease:" + id + " woken":                 "1",
		"lease:" + id + ":log +1":                "e=queued t=queued for a host",
		"leases " + id:                           "0",
		"leases:pending " + id:                   "0",
		"leases:by-type:host " + id:              "0",
		"waiting:host " + id:                     at(0),
		"waiting:host:shapes " + plain:           at(0),
		"waiting:host:shape:" + plain + " " + id: at(0),
		"wake lease:" + id:                       visible,
		"events +1":                              "e=queued o=lease:" + id + " s=pending",
	}
}

func TestCreateLease(t *testing.T) {
	t.Parallel()
	shape := shapeOf(map[string]string{"os": "linux"}, []string{"a", "b"})
	tests := []struct {
		name string
		n    model.NewLease
		want expect
	}{
		{"plain", model.NewLease{}, expect{}},
		{"with everything", model.NewLease{
			Attributes: map[string]string{"os": "linux"}, Blueprints: []string{"b", "a"}, Owner: "ada", TTL: time.Minute, Priority: 2,
			Data: json.RawMessage(`{"job": 1}`),
		}, expect{
			"lease:l1 attributes": `{"os":"linux"}`, "lease:l1 blueprints": `["b","a"]`, "lease:l1 owner": "ada",
			"lease:l1 until": at(time.Minute), "lease:l1 priority": "2", "lease:l1 order": at(-2 * headStart), "lease:l1 shape": shape,
			"lease:l1:data value": `{"job": 1}`, "lease:l1:data rev": "1", "leases:by-owner:ada l1": "0",
			"waiting:host l1": at(-2 * headStart), "waiting:host:shapes " + shape: at(-2 * headStart),
			"waiting:host:shape:" + shape + " l1": at(-2 * headStart),
			"waiting:host:shapes " + plain:        "",
			"waiting:host:shape:" + plain + " l1": "",
		}},
		{"until", model.NewLease{Until: start.Add(time.Hour)}, expect{"lease:l1 until": at(time.Hour)}},
		{"low priority", model.NewLease{Priority: -1}, expect{
			"lease:l1 priority": "-1", "lease:l1 order": at(headStart), "waiting:host l1": at(headStart),
			"waiting:host:shapes " + plain: at(headStart), "waiting:host:shape:" + plain + " l1": at(headStart),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.dump()
			created := e.createLease("l1", tt.n)
			want := queued("l1")
			for k, v := range tt.want {
				want[k] = v
				if v == "" {
					delete(want, k)
				}
			}
			e.wantChanges(before, want)
			e.wantRefs(created.Wake, "lease:l1")
			if created.Repeat {
				t.Errorf("created = %+v, want no repetition", created)
			}
			read, err := e.Lease(e.ctx, e.ns, "l1")
			e.must(err)
			if diff := cmp.Diff(read, created.Lease); diff != "" {
				t.Errorf("created.Lease differs from what is read (-read +created):\n%s", diff)
			}
			e.wantVerified()
		})
	}
}

func TestCreateLeaseAnswersAsItIsRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createLease("l1", model.NewLease{})
	e.clock.advance(time.Second)
	got := e.createLease("l2", model.NewLease{
		Attributes: map[string]string{"os": "linux"}, Blueprints: []string{"lab"}, Owner: "ada", TTL: time.Minute, Priority: -3,
		Data: json.RawMessage(`"note"`),
	}).Lease
	now := start.Add(time.Second)
	want := &model.Lease{
		Ref: e.leaseRef("l2"), Type: "host", Status: model.LeasePending, Owner: "ada", Attributes: map[string]string{"os": "linux"},
		Blueprints: []string{"lab"}, Priority: -3, Until: now.Add(time.Minute), Waiting: &model.Waiting{Position: 2},
		Data: json.RawMessage(`"note"`), DataRev: 1, CreatedAt: now, UpdatedAt: now,
		Work: model.LeaseWork{
			Order: float64(now.Add(3 * headStart).UnixMilli()), Shape: shapeOf(map[string]string{"os": "linux"}, []string{"lab"}),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("created lease (-want +got):\n%s", diff)
	}
}

func TestCreateLeaseJoinsAQueueBehindItsFirst(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createLease("l1", model.NewLease{})
	e.clock.advance(time.Second)
	before := e.dump()
	e.createLease("l2", model.NewLease{})
	want := queued("l2")
	for k, v := range want {
		switch v {
		case at(0):
			want[k] = at(time.Second)
		case visible:
			want[k] = at(DefaultVisibility + time.Second)
		}
	}
	delete(want, "waiting:host:shapes "+plain) // its score stays that of the first
	e.wantChanges(before, want)
}

func TestCreateLeaseWithAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	before := e.dump()
	first, err := e.CreateLease(e.ctx, e.ns, "l1", model.NewLease{Type: "host", Data: json.RawMessage(`{"a": ["\u0000/é"]}`)}, idem)
	e.must(err)
	key := "idem:" + hashKey("k") + " (expires) "
	e.wantChanges(before, queued("l1"), expect{
		key + "fingerprint": "f", key + "id": "l1", key + "reply": "kept", "lease:l1:data value": `{"a": ["\u0000/é"]}`, "lease:l1:data rev": "1",
	})
	ttl, err := e.rdb.PTTL(e.ctx, idemKey(e.ns, hashKey("k"))).Result()
	e.must(err)
	if ttl < idempotencyWindow-time.Minute || ttl > idempotencyWindow {
		t.Errorf("the key is remembered for %v, want %v", ttl, idempotencyWindow)
	}

	e.wantNoChange(func() {
		lost, err := e.CreateLease(e.ctx, e.ns, "l1", model.NewLease{Type: "host"}, idem)
		e.must(err)
		if diff := cmp.Diff(first, lost); diff != "" {
			t.Errorf("the same write again, whose reply was lost (-first +again):\n%s", diff)
		}
	})
	// The lease has moved on when the caller asks again.
	e.applyLease(e.claim(e.leaseRef("l1")), LeaseStep{Reason: new("some reason")})
	first.Repeat, first.Wake = true, []model.Ref{}
	e.wantNoChange(func() {
		again, err := e.CreateLease(e.ctx, e.ns, "l2", model.NewLease{Type: "host"}, idem)
		e.must(err)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("the same request again (-first +again):\n%s", diff)
		}
	})
	e.wantNoChange(func() {
		_, err := e.CreateLease(e.ctx, e.ns, "l2", model.NewLease{Type: "host"}, model.Idempotency{Key: "k", Fingerprint: "other"})
		if !errors.Is(err, errKeyReused) {
			t.Errorf("same key, other request: %v, want %v", err, errKeyReused)
		}
	})
}

// TestCreateLeaseTwiceWithOneID is a write that was sent again: the caller has to learn of the lease, and to wake it, as if
// the first reply had come.
func TestCreateLeaseTwiceWithOneID(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first := e.createLease("l1", model.NewLease{Owner: "ada"})
	e.wantNoChange(func() {
		if diff := cmp.Diff(first, e.createLease("l1", model.NewLease{Owner: "ada"})); diff != "" {
			t.Errorf("second answer (-first +second):\n%s", diff)
		}
	})
	e.settle(e.leaseRef("l1"))
	e.wantNoChange(func() {
		if late := e.createLease("l1", model.NewLease{Owner: "ada"}); len(late.Wake) > 0 {
			t.Errorf("woken %v although it was claimed meanwhile", late.Wake)
		}
	})
}

func TestSaveAnswer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	answer := model.Answer{Status: 202, Body: []byte("{}")}
	e.wantNoChange(func() { e.must(errOf(e.SaveAnswer(e.ctx, e.ns, "unknown", answer))) })
	if known, err := e.KnowsKey(e.ctx, e.ns, "k"); known || err != nil {
		t.Errorf("KnowsKey = %t, %v before any request", known, err)
	}

	_, _, err := e.Plan(e.ctx, e.ns, model.Idempotency{Key: "k", Fingerprint: "f"}, []byte("{}"))
	e.must(err)
	before := e.dump()
	e.must(errOf(e.SaveAnswer(e.ctx, e.ns, "k", answer)))
	e.wantChanges(before, expect{"idem:" + hashKey("k") + " (expires) answer": `{"status":202,"body":"e30="}`})
	e.wantNoChange(func() {
		kept, err := e.SaveAnswer(e.ctx, e.ns, "k", model.Answer{Status: 500})
		e.must(err)
		if diff := cmp.Diff(answer, kept); diff != "" {
			t.Errorf("answer to give (-want +got):\n%s", diff)
		}
	})
	if known, err := e.KnowsKey(e.ctx, e.ns, "k"); !known || err != nil {
		t.Errorf("KnowsKey = %t, %v, want true", known, err)
	}
}

func TestLeaseNotFound(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	if _, err := e.Lease(e.ctx, e.ns, "nobody"); !errors.Is(err, model.ErrLeaseNotFound) {
		t.Errorf("Lease: %v, want %v", err, model.ErrLeaseNotFound)
	}
	if _, err := e.Resource(e.ctx, e.ns, "nobody"); !errors.Is(err, model.ErrResourceNotFound) {
		t.Errorf("Resource: %v, want %v", err, model.ErrResourceNotFound)
	}
}

// TestUnreadableObjects: what a newer Drydock, or nobody, wrote is an error, not a guess.
func TestUnreadableObjects(t *testing.T) {
	t.Parallel()
	tests := []struct{ field, value string }{{"schema", "2"}, {"schema", "0"}, {"schema", ""}, {"status", "melted"}}
	for _, tt := range tests {
		e := newEnv(t)
		e.leaseIn("l1", model.LeaseActive)
		e.must(e.rdb.HSet(e.ctx, objectKey(e.leaseRef("l1")), tt.field, tt.value).Err())
		e.must(e.rdb.HSet(e.ctx, objectKey(e.resourceRef("r-l1")), tt.field, tt.value).Err())
		_, leaseErr := e.Lease(e.ctx, e.ns, "l1")
		_, resourceErr := e.Resource(e.ctx, e.ns, "r-l1")
		_, listErr := e.Leases(e.ctx, e.ns, model.LeaseFilter{})
		for what, err := range map[string]error{"Lease": leaseErr, "Resource": resourceErr, "Leases": listErr} {
			if kindOf(err) != model.ErrorInternal {
				t.Errorf("%s with %s %q: %v, want an internal error", what, tt.field, tt.value, err)
			}
			if tt.field == "schema" && !errors.Is(err, model.ErrSchemaVersion) {
				t.Errorf("%s with %s %q: %v, want %v", what, tt.field, tt.value, err, model.ErrSchemaVersion)
			}
		}
	}
}
