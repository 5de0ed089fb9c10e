package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"drydock/model"
)

// mustJSON encodes values of our own types, which cannot fail.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return string(b)
}

// rest encodes v as a JSON object without its opening brace: the scripts put an instant in front of it.
func rest(v any) string { return mustJSON(v)[1:] }

func encodeMap(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	return mustJSON(m)
}

func encodeList(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return mustJSON(l)
}

func decodeList(s string) []string {
	var l []string
	if s != "" {
		_ = json.Unmarshal([]byte(s), &l)
	}
	return l
}

// record reads the fields of a stored object. An object whose attributes or lists are not what we write is refused: read in part, it would
// ask for less than it does, or hold less than it holds.
type record struct {
	fields map[string]string
	// err tells of the first field that cannot be read.
	err error
}

func (r *record) read(field string, into any) {
	text := r.fields[field]
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil && r.err == nil {
		r.err = &model.Error{Kind: model.ErrorInternal, Message: "unreadable " + field, Cause: err}
	}
}

func (r *record) list(field string) (l []string) {
	r.read(field, &l)
	return l
}

func (r *record) attributes() map[string]string {
	m := map[string]string{}
	r.read("attributes", &m)
	return m
}

// shapeOf names what a request asks for: leases of one shape can take the same resources.
func shapeOf(attributes map[string]string, blueprints []string) string {
	names := slices.Clone(blueprints)
	slices.Sort(names)
	sum := sha256.Sum256([]byte(mustJSON([]any{attributes, names})))
	return hex.EncodeToString(sum[:8])
}

// gatedShapeOf names what a request can take while some blueprints do not admit its owner.
func gatedShapeOf(req model.Request, gates []string) string {
	barred := slices.Clone(gates)
	slices.Sort(barred)
	return shapeOf(req.Attributes, append(slices.Clone(req.Blueprints), "but "+strings.Join(barred, " ")))
}

func (r *record) work() model.Work {
	f := r.fields
	version, _ := strconv.ParseInt(f["version"], 10, 64)
	failures, _ := strconv.Atoi(f["failures"])
	return model.Work{
		Writer: f["writer"], Version: version, Slots: r.list("slots"),
		Hook: f["hook"], Failures: failures, EndedAt: parseMillis(f["ended"]), Trace: f["trace"],
	}
}

// checkSchema refuses objects that a newer Drydock wrote: reading them by guess could show or do the wrong thing.
func checkSchema(f map[string]string) error {
	v, err := strconv.Atoi(f["schema"])
	if err != nil || v < 1 || v > schemaVersion {
		return fmt.Errorf("version %q, known is %d: %w", f["schema"], schemaVersion, model.ErrSchemaVersion)
	}
	return nil
}

func decodeLease(ns string, f map[string]string) (*model.Lease, error) {
	if len(f) == 0 {
		return nil, model.ErrLeaseNotFound
	}
	if err := checkSchema(f); err != nil {
		return nil, fmt.Errorf("lease %s: %w", f["id"], err)
	}
	fields := record{fields: f}
	var failedMS int64
	l := &model.Lease{
		Ref:  model.LeaseRef(ns, f["id"]),
		Type: f["type"], Status: model.LeaseState(f["status"]), Releasing: positive(f["releases"]),
		Resource: f["resource"], Blueprint: f["blueprint"], Owner: f["owner"],
		Attributes: fields.attributes(), Blueprints: fields.list("blueprints"),
		Until:     parseMillis(f["until"]),
		CreatedAt: parseMillis(f["created"]), AcquiredAt: parseMillis(f["acquired"]), ActivatedAt: parseMillis(f["active"]),
		ReleasedAt: parseMillis(f["released"]), DestroyedAt: parseMillis(f["destroyed"]), UpdatedAt: parseMillis(f["updated"]),
		Work: model.LeaseWork{Work: fields.work(), Shape: f["shape"], ForResource: f["for_resource"], Allocation: f["allocation"], Gates: fields.list("gates"), Reason: f["reason"]},
	}
	l.Work.Reclaiming, l.Work.ReclaimCommand, _ = strings.Cut(f["reclaiming"], " ")
	if n, err := fmt.Sscan(f["failed"], &l.Work.Failed.Count, &failedMS, &l.Work.Failed.Blueprint); n == 3 && err == nil {
		l.Work.Failed.At = millis(failedMS)
	}
	l.Work.Depth, _ = strconv.Atoi(f["depth"])
	l.Priority, _ = strconv.Atoi(f["priority"])
	l.Fence, _ = strconv.ParseInt(f["fence"], 10, 64)
	l.Work.Order, _ = strconv.ParseFloat(f["order"], 64)
	if l.Status == model.LeasePending {
		l.Waiting = &model.Waiting{Reason: l.Work.Reason, Blueprints: fields.list("considered")}
	}
	if fields.err != nil {
		return nil, fmt.Errorf("lease %s: %w", l.ID, fields.err)
	}
	if !l.Status.Valid() {
		return nil, model.Errorf(model.ErrorInternal, "lease %s has the unknown state %q", l.ID, l.Status)
	}
	return l, nil
}

func decodeResource(ns string, f map[string]string, leases []string) (*model.Resource, error) {
	if len(f) == 0 {
		return nil, model.ErrResourceNotFound
	}
	if err := checkSchema(f); err != nil {
		return nil, fmt.Errorf("resource %s: %w", f["id"], err)
	}
	fields := record{fields: f}
	r := &model.Resource{
		Ref:  model.ResourceRef(ns, f["id"]),
		Name: f["name"], Type: f["type"], Status: model.ResourceState(f["status"]),
		Releasing: positive(f["releases"]), Paused: f["paused"] == "1", Blueprint: f["blueprint"],
		Attributes: fields.attributes(), Leases: leases, Until: parseMillis(f["until"]), IdleSince: parseMillis(f["idle"]),
		CreatedAt: parseMillis(f["created"]), ActivatedAt: parseMillis(f["active"]), ReleasedAt: parseMillis(f["released"]),
		DestroyedAt: parseMillis(f["destroyed"]), UpdatedAt: parseMillis(f["updated"]),
		Work: model.ResourceWork{Work: fields.work(), ForLease: f["for_lease"], Facts: f["facts"]},
	}
	r.Capacity, _ = strconv.Atoi(f["capacity"])
	r.Work.SubLease = f["sublease"]
	r.Work.Depth, _ = strconv.Atoi(f["depth"])
	r.Work.Rev, _ = strconv.ParseInt(f["rev"], 10, 64)
	if ms, err := strconv.ParseInt(f["retire"], 10, 64); err == nil {
		r.Work.Retires, r.Work.RetireAfter = true, time.Duration(ms)*time.Millisecond
	}
	r.Fence, _ = strconv.ParseInt(f["fence"], 10, 64)
	if fields.err != nil {
		return nil, fmt.Errorf("resource %s: %w", r.ID, fields.err)
	}
	if !r.Status.Valid() {
		return nil, model.Errorf(model.ErrorInternal, "resource %s has the unknown state %q", r.ID, r.Status)
	}
	return r, nil
}

func decodeBlueprintWork(f map[string]string) (*model.BlueprintWork, error) {
	if err := checkSchema(f); err != nil {
		return nil, fmt.Errorf("blueprint: %w", err)
	}
	fields := record{fields: f}
	told, _ := strconv.ParseInt(f["told"], 10, 64)
	w := &model.BlueprintWork{Work: fields.work(), Told: told}
	if fields.err != nil {
		return nil, fmt.Errorf("blueprint: %w", fields.err)
	}
	return w, nil
}

func positive(s string) bool {
	n, _ := strconv.Atoi(s)
	return n > 0
}

// sentRecord is a command as its sender stored it. The script adds sent_ms in front.
type sentRecord struct {
	SentMS  int64             `json:"sent_ms,omitempty"`
	Command model.CommandName `json:"command"`
	Args    json.RawMessage   `json:"args,omitempty"`
	Author  string            `json:"author"`
	Origin  model.Origin      `json:"origin"`
	Reason  string            `json:"reason,omitempty"`
	Trace   string            `json:"trace,omitempty"`
}

// outcomeRecord is how a command was consumed. The script adds consumed_ms in front.
type outcomeRecord struct {
	ConsumedMS int64         `json:"consumed_ms,omitempty"`
	Outcome    model.Outcome `json:"outcome"`
	Detail     string        `json:"detail,omitempty"`
	Fence      int64         `json:"fence"`
	Worker     string        `json:"worker"`
}

func decodeCommand(ref model.Ref, id, sent, outcome string) (*model.Command, error) {
	var s sentRecord
	if err := json.Unmarshal([]byte(sent), &s); err != nil {
		return nil, &model.Error{Kind: model.ErrorInternal, Message: "unreadable record of command " + id, Cause: err}
	}
	c := &model.Command{
		ID: id, Target: ref, Name: s.Command, Args: s.Args, Author: s.Author, Origin: s.Origin, Reason: s.Reason,
		SentAt: millis(s.SentMS), Trace: s.Trace,
	}
	if outcome == "" {
		return c, nil
	}
	var o outcomeRecord
	if err := json.Unmarshal([]byte(outcome), &o); err != nil {
		return nil, &model.Error{Kind: model.ErrorInternal, Message: "unreadable outcome of command " + id, Cause: err}
	}
	c.ConsumedAt, c.Outcome, c.Detail, c.Fence, c.Worker = millis(o.ConsumedMS), o.Outcome, o.Detail, o.Fence, o.Worker
	return c, nil
}

// headStart is how much earlier one step of priority makes a lease stand in the queue. Because it is an amount of time,
// nobody is starved: whoever has waited long enough stands before every newcomer, whatever its priority.
const headStart = 5 * time.Minute
