package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

func subscriptionsKey(ns string) string      { return prefix(ns) + "subscriptions" }
func subscriptionKey(ns, name string) string { return prefix(ns) + "subscription:" + name }
func deadKey(ns, name string) string         { return subscriptionKey(ns, name) + ":dead" }

// SubscriptionLockKey names the lock of whoever sends the events of a subscription.
func SubscriptionLockKey(ns, name string) string { return prefix(ns) + "lock:subscription:" + name }

// PutSubscription declares a subscription, which has been checked. A new one begins with the events that come from now on; one that
// is there keeps its place, and its secret when the new one is empty. created reports that there was none of this name. Errors:
// [model.ErrorInvalid] for a new one without a secret, [model.ErrorConflict] when there are too many, [model.ErrorUnavailable],
// [model.ErrorUnknown].
func (s *Store) PutSubscription(ctx context.Context, sub *model.Subscription) (stored *model.Subscription, created bool, err error) {
	if err := s.announce(ctx, sub.Namespace); err != nil {
		return nil, false, err
	}
	reply, err := s.write(ctx, "put subscription", putSubscriptionScript, []string{subscriptionKey(sub.Namespace, sub.Name)},
		sub.Name, model.NewID(), model.MaxSubscriptions, sub.Secret,
		"url", sub.URL, "enabled", flag(sub.Enabled), "tries", sub.Tries,
		"types", encodeList(toStringsOf(sub.Filter.Types)), "events", encodeList(toStringsOf(sub.Filter.Events)),
		"status", encodeList(sub.Filter.Status))
	if err != nil {
		return nil, false, err
	}
	switch toInt(reply[0]) {
	case -1:
		return nil, false, model.Errorf(model.ErrorConflict, "the namespace has %d subscriptions, which is the most it may have", model.MaxSubscriptions)
	case -2:
		return nil, false, model.Invalid("secret", "is required for a new subscription")
	}
	stored, err = decodeSubscription(sub.Namespace, sub.Name, toMap(reply[1]))
	return stored, toInt(reply[0]) == 1, err
}

func decodeSubscription(ns, name string, f map[string]string) (*model.Subscription, error) {
	var types, events, status []string
	for field, into := range map[string]*[]string{"types": &types, "events": &events, "status": &status} {
		if f[field] == "" {
			continue
		}
		if err := json.Unmarshal([]byte(f[field]), into); err != nil {
			return nil, &model.Error{Kind: model.ErrorInternal, Message: "unreadable " + field + " of subscription " + name, Cause: err}
		}
	}
	sub := &model.Subscription{
		Namespace: ns, Name: name, URL: f["url"], Secret: f["secret"], Enabled: f["enabled"] == "1", Tries: int(toInt(f["tries"])),
		CreatedAt: parseMillis(f["created"]), UpdatedAt: parseMillis(f["updated"]), Position: f["position"], Sent: toInt(f["sent"]),
		SentAt: parseMillis(f["sent_at"]), Failures: int(toInt(f["failures"])), LastError: f["error"], TryAt: parseMillis(f["try_at"]),
		Dropped: toInt(f["dropped"]), Retry: f["retry"], Filter: model.EventFilter{Status: status},
	}
	for _, k := range types {
		sub.Filter.Types = append(sub.Filter.Types, model.Kind(k))
	}
	for _, e := range events {
		sub.Filter.Events = append(sub.Filter.Events, model.EventType(e))
	}
	return sub, nil
}

// Subscription reads a subscription. Errors: [model.ErrSubscriptionNotFound], [model.ErrorUnavailable].
func (s *Store) Subscription(ctx context.Context, ns, name string) (*model.Subscription, error) {
	subs, err := s.readSubscriptions(ctx, ns, []string{name})
	if err != nil {
		return nil, err
	}
	if len(subs) == 0 {
		return nil, model.ErrSubscriptionNotFound
	}
	return subs[0], nil
}

// Subscriptions lists the subscriptions of a namespace by name.
func (s *Store) Subscriptions(ctx context.Context, ns string) ([]*model.Subscription, error) {
	names, err := s.SubscriptionNames(ctx, ns)
	if err != nil {
		return nil, err
	}
	return s.readSubscriptions(ctx, ns, names)
}

// SubscriptionNames lists the names of a namespace's subscriptions in order.
func (s *Store) SubscriptionNames(ctx context.Context, ns string) ([]string, error) {
	names, err := s.rdb.ZRange(ctx, subscriptionsKey(ns), 0, -1).Result()
	return names, translate("list subscriptions", err)
}

func (s *Store) readSubscriptions(ctx context.Context, ns string, names []string) ([]*model.Subscription, error) {
	if len(names) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	fields := make([]*redis.MapStringStringCmd, len(names))
	dead := make([]*redis.IntCmd, len(names))
	for i, name := range names {
		fields[i] = pipe.HGetAll(ctx, subscriptionKey(ns, name))
		dead[i] = pipe.XLen(ctx, deadKey(ns, name))
	}
	if err := exec(ctx, "read subscriptions", pipe); err != nil {
		return nil, err
	}
	subs := make([]*model.Subscription, 0, len(names))
	for i, name := range names {
		if len(fields[i].Val()) == 0 {
			continue
		}
		sub, err := decodeSubscription(ns, name, fields[i].Val())
		if err != nil {
			return nil, err
		}
		sub.DeadLetters = dead[i].Val()
		subs = append(subs, sub)
	}
	return subs, nil
}

// DeleteSubscription removes a subscription with its dead letters. Errors: [model.ErrSubscriptionNotFound], [model.ErrorUnavailable].
func (s *Store) DeleteSubscription(ctx context.Context, ns, name string) error {
	args := append(s.head(), name, model.NewID())
	code, err := deleteSubscriptionScript.Run(ctx, s.rdb, []string{subscriptionKey(ns, name)}, args...).Int()
	if err == nil && code == 0 {
		return model.ErrSubscriptionNotFound
	}
	return translate("delete subscription", err)
}

// DeadLetters lists the dead letters of a subscription, oldest first. Errors: [model.ErrSubscriptionNotFound],
// [model.ErrorUnavailable].
func (s *Store) DeadLetters(ctx context.Context, ns, name string, limit int, after string) (model.Page[model.DeadLetter], error) {
	page := model.Page[model.DeadLetter]{Items: []model.DeadLetter{}}
	if limit <= 0 {
		limit = model.DefaultPageLimit
	}
	from, err := streamFrom(after)
	if err != nil {
		return page, err
	}
	pipe := s.rdb.Pipeline()
	exists := pipe.Exists(ctx, subscriptionKey(ns, name))
	letters := pipe.XRangeN(ctx, deadKey(ns, name), from, "+", int64(limit)+1)
	if err := exec(ctx, "list dead letters", pipe); err != nil {
		return page, err
	}
	if exists.Val() == 0 {
		return page, model.ErrSubscriptionNotFound
	}
	for _, m := range letters.Val() {
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].ID
			break
		}
		letter, err := decodeDeadLetter(ns, m)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, letter)
	}
	return page, nil
}

// RetryDeadLetters asks for all dead letters of a subscription to be sent again, once each, and returns how many there are. Errors:
// [model.ErrSubscriptionNotFound], [model.ErrorUnavailable].
func (s *Store) RetryDeadLetters(ctx context.Context, ns, name string) (int64, error) {
	n, err := retryDeadLettersScript.Run(ctx, s.rdb, []string{subscriptionKey(ns, name)}, s.head()...).Int64()
	if err == nil && n < 0 {
		return 0, model.ErrSubscriptionNotFound
	}
	return n, translate("retry dead letters", err)
}

// eventRecord is an event as a dead letter keeps it: the stream may have trimmed it away.
type eventRecord struct {
	ID           string `json:"id"`
	AtMS         int64  `json:"at_ms"`
	Object       string `json:"object,omitempty"`
	Event        string `json:"event"`
	Status       string `json:"status,omitempty"`
	Text         string `json:"text,omitempty"`
	ResourceType string `json:"resource_type,omitempty"`
	Name         string `json:"name,omitempty"`
	Owner        string `json:"owner,omitempty"`
	Resource     string `json:"resource,omitempty"`
	Blueprint    string `json:"blueprint,omitempty"`
	Command      string `json:"command,omitempty"`
	Fence        int64  `json:"fence,omitempty"`
	Worker       string `json:"worker,omitempty"`
}

func encodeEvent(e *model.Event) string {
	r := eventRecord{
		ID: e.ID, AtMS: toMillis(e.At), Event: string(e.Event), Status: e.Status, Text: e.Text, ResourceType: e.ResourceType, Name: e.Name,
		Owner: e.Owner, Resource: e.Resource, Blueprint: e.Blueprint, Command: e.Command, Fence: e.Fence, Worker: e.Worker,
	}
	if e.Object.ID != "" {
		r.Object = e.Object.Member()
	}
	return mustJSON(r)
}

func decodeDeadLetter(ns string, m redis.XMessage) (model.DeadLetter, error) {
	var r eventRecord
	if err := json.Unmarshal([]byte(toString(m.Values["d"])), &r); err != nil {
		return model.DeadLetter{}, &model.Error{Kind: model.ErrorInternal, Message: "unreadable dead letter " + m.ID, Cause: err}
	}
	id, _ := parseStreamID(m.ID)
	letter := model.DeadLetter{
		ID: m.ID, At: id.time(), Tries: int(toInt(m.Values["n"])), Reason: toString(m.Values["r"]),
		Event: model.Event{
			ID: r.ID, At: millis(r.AtMS), Namespace: ns, Event: model.EventType(r.Event), Status: r.Status, Text: r.Text,
			ResourceType: r.ResourceType, Name: r.Name, Owner: r.Owner, Resource: r.Resource, Blueprint: r.Blueprint, Command: r.Command,
			Fence: r.Fence, Worker: r.Worker,
		},
	}
	letter.Event.Object, _ = model.ParseMember(ns, r.Object) // a gap is about no object
	return letter, nil
}

// SubscriptionClaim makes its holder the one that sends the events of a subscription, until somebody else claims it. It is for one
// goroutine.
type SubscriptionClaim struct {
	Namespace, Name string
	Writer          string
}

// ClaimSubscription takes a subscription over. The caller holds its lock ([SubscriptionLockKey]); should that lie, the steps of whoever
// claimed it first are refused. Errors: [model.ErrSubscriptionNotFound], [model.ErrorUnavailable].
func (s *Store) ClaimSubscription(ctx context.Context, ns, name string) (*SubscriptionClaim, error) {
	c := &SubscriptionClaim{Namespace: ns, Name: name, Writer: model.NewWriter()}
	args := append(s.head(), c.Writer)
	code, err := claimSubscriptionScript.Run(ctx, s.rdb, []string{subscriptionKey(ns, name)}, args...).Int()
	if err == nil && code == 0 {
		return nil, model.ErrSubscriptionNotFound
	}
	return c, translate("claim subscription", err)
}

// ClaimedSubscription reads a claimed subscription and the first dead letter that is to be sent again, nil if none is. Errors:
// [model.ErrSubscriptionNotFound], [model.ErrStaleWriter] when somebody else has claimed it, [model.ErrorUnavailable].
func (s *Store) ClaimedSubscription(ctx context.Context, c *SubscriptionClaim) (*model.Subscription, *model.DeadLetter, error) {
	pipe := s.rdb.Pipeline()
	fields := pipe.HGetAll(ctx, subscriptionKey(c.Namespace, c.Name))
	first := pipe.XRangeN(ctx, deadKey(c.Namespace, c.Name), "-", "+", 1)
	if err := exec(ctx, "read subscription", pipe); err != nil {
		return nil, nil, err
	}
	f := fields.Val()
	switch {
	case len(f) == 0:
		return nil, nil, model.ErrSubscriptionNotFound
	case f["writer"] != c.Writer:
		return nil, nil, model.ErrStaleWriter
	}
	sub, err := decodeSubscription(c.Namespace, c.Name, f)
	if err != nil || sub.Retry == "" {
		return sub, nil, err
	}
	until, _ := parseStreamID(sub.Retry)
	if len(first.Val()) == 0 || until.before(idOf(first.Val())) {
		return sub, nil, s.stepSubscription(ctx, c, "settled", sub.Retry, 0, "", time.Time{}, nil)
	}
	letter, err := decodeDeadLetter(c.Namespace, first.Val()[0])
	return sub, &letter, err
}

// EventSent records that the service accepted an event, which moves the subscription's place behind it. Errors of this and the
// following: [model.ErrStaleWriter], [model.ErrorUnavailable].
func (s *Store) EventSent(ctx context.Context, c *SubscriptionClaim, e *model.Event) error {
	return s.stepSubscription(ctx, c, "sent", e.ID, 0, "", time.Time{}, nil)
}

// EventsPassed moves the subscription's place to a position: what stands before it is not for the service.
func (s *Store) EventsPassed(ctx context.Context, c *SubscriptionClaim, position string) error {
	return s.stepSubscription(ctx, c, "passed", position, 0, "", time.Time{}, nil)
}

// EventFailed records that the service did not accept the next event, how many tries that makes, and that it is tried again at an instant.
func (s *Store) EventFailed(ctx context.Context, c *SubscriptionClaim, failures int, reason string, tryAt time.Time) error {
	return s.stepSubscription(ctx, c, "failed", "", failures, reason, tryAt, nil)
}

// EventDead makes an event a dead letter, which moves the subscription's place behind it.
func (s *Store) EventDead(ctx context.Context, c *SubscriptionClaim, e *model.Event, tries int, reason string) error {
	return s.stepSubscription(ctx, c, "dead", e.ID, tries, reason, time.Time{}, e)
}

// DeadLetterSent records that the service accepted a dead letter, which is one no more.
func (s *Store) DeadLetterSent(ctx context.Context, c *SubscriptionClaim, l *model.DeadLetter) error {
	return s.stepSubscription(ctx, c, "resent", l.ID, 0, "", time.Time{}, nil)
}

// DeadLetterFailed records that the service did not accept a dead letter once more; it stands behind the others from now on.
func (s *Store) DeadLetterFailed(ctx context.Context, c *SubscriptionClaim, l *model.DeadLetter, reason string) error {
	return s.stepSubscription(ctx, c, "dead-again", l.ID, l.Tries+1, reason, time.Time{}, &l.Event)
}

func (s *Store) stepSubscription(
	ctx context.Context, c *SubscriptionClaim, what, at string, failures int, reason string, tryAt time.Time, e *model.Event,
) error {
	record := ""
	if e != nil {
		record = encodeEvent(e)
	}
	args := append(s.head(), c.Writer, what, at, failures, strings.ToValidUTF8(reason, "…"), toMillis(tryAt), record, model.MaxDeadLetters)
	code, err := stepSubscriptionScript.Run(ctx, s.rdb, []string{subscriptionKey(c.Namespace, c.Name)}, args...).Int()
	if err == nil && code == 0 {
		return model.ErrStaleWriter
	}
	return translate("record what became of an event", err)
}
