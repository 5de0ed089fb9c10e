package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func subscription(e *env, name string) *model.Subscription {
	return &model.Subscription{
		Namespace: e.ns, Name: name, URL: "https://example.org/hook", Secret: "sixteen bytes or more", Enabled: true, Tries: 3,
		Filter: model.EventFilter{Types: []model.Kind{model.KindLease}, Events: []model.EventType{model.EventReleased}, Status: []string{"released"}},
	}
}

// subscriptionLife runs every call that writes a subscription once and checks what it comes to.
func subscriptionLife(e *env) {
	e.Helper()
	stored, created, err := e.PutSubscription(e.ctx, subscription(e, "s1"))
	e.must(err)
	if want := subscription(e, "s1"); !created || stored.Position != e.lastID() || stored.Position == "0-0" || !cmp.Equal(stored.Filter, want.Filter) || stored.Secret != want.Secret {
		e.Errorf("created %t: %+v", created, stored)
	}
	c, err := e.ClaimSubscription(e.ctx, e.ns, "s1")
	e.must(err)
	event := func(id string) *model.Event {
		return &model.Event{ID: id, At: start, Namespace: e.ns, Object: e.leaseRef("l1"), Event: model.EventReleased, Status: "released"}
	}
	look := func() *model.Subscription {
		e.Helper()
		sub, err := e.Subscription(e.ctx, e.ns, "s1")
		e.must(err)
		return sub
	}

	e.must(e.EventsPassed(e.ctx, c, "1-0"))
	e.must(e.EventFailed(e.ctx, c, 2, "the service answered 500", start.Add(time.Minute)))
	if s := look(); s.Failures != 2 || s.LastError == "" || !s.TryAt.Equal(start.Add(time.Minute)) || s.Position != "1-0" {
		e.Errorf("after a failure: %+v", s)
	}
	e.must(e.EventSent(e.ctx, c, event("2-0")))
	if s := look(); s.Failures != 0 || s.LastError != "" || !s.TryAt.IsZero() || s.Position != "2-0" || s.Sent != 1 || s.SentAt.IsZero() {
		e.Errorf("after it was sent: %+v", s)
	}
	for i := range 3 {
		e.must(e.EventDead(e.ctx, c, event(fmt.Sprintf("3-%d", i)), 3, "no"))
	}
	if s := look(); s.DeadLetters != 3 || s.Position != "3-2" || s.LastError != "no" || s.Retry != "" {
		e.Errorf("after it was given up: %+v", s)
	}
	page, err := e.DeadLetters(e.ctx, e.ns, "s1", 2, "")
	e.must(err)
	if len(page.Items) != 2 || page.Next != page.Items[1].ID {
		e.Fatalf("dead letters %+v", page)
	}
	if diff := cmp.Diff(model.DeadLetter{ID: page.Items[0].ID, At: page.Items[0].At, Event: *event("3-0"), Tries: 3, Reason: "no"}, page.Items[0]); diff != "" {
		e.Errorf("dead letter (-want +got):\n%s", diff)
	}

	if n, err := e.RetryDeadLetters(e.ctx, e.ns, "s1"); n != 3 || err != nil {
		e.Errorf("retry = %d, %v", n, err)
	}
	next := func(want string) *model.DeadLetter {
		e.Helper()
		_, letter, err := e.ClaimedSubscription(e.ctx, c)
		e.must(err)
		if got := letter; want == "" && got != nil || want != "" && (got == nil || got.Event.ID != want) {
			e.Fatalf("next to send again is %+v, want event %q", got, want)
		}
		return letter
	}
	e.must(e.DeadLetterSent(e.ctx, c, next("3-0")))
	e.must(e.DeadLetterFailed(e.ctx, c, next("3-1"), "still no"))
	e.must(e.DeadLetterSent(e.ctx, c, next("3-2")))
	next("") // each once, not until it works
	page, err = e.DeadLetters(e.ctx, e.ns, "s1", 0, "")
	e.must(err)
	if s := look(); len(page.Items) != 1 || page.Items[0].Event.ID != "3-1" || page.Items[0].Tries != 4 || page.Items[0].Reason != "still no" || s.Retry != "" || s.Sent != 3 {
		e.Errorf("after the retry: %+v, %+v", page.Items, s)
	}

	// Declared anew it keeps its place and, unless another is given, its secret; and whoever sends goes on.
	again := subscription(e, "s1")
	again.Secret, again.URL, again.Filter = "", "https://example.org/other", model.EventFilter{}
	e.must(e.EventFailed(e.ctx, c, 1, "no", start.Add(time.Hour)))
	stored, created, err = e.PutSubscription(e.ctx, again)
	e.must(err)
	if created || stored.Secret != subscription(e, "s1").Secret || stored.URL != again.URL || stored.Position != "3-2" || !stored.TryAt.IsZero() ||
		!cmp.Equal(stored.Filter, model.EventFilter{}) {
		e.Errorf("declared anew: %+v", stored)
	}
	e.must(e.EventSent(e.ctx, c, event("4-0")))

	// A second claim ends the first.
	second, err := e.ClaimSubscription(e.ctx, e.ns, "s1")
	e.must(err)
	if err := e.EventSent(e.ctx, c, event("5-0")); !errors.Is(err, model.ErrStaleWriter) {
		e.Errorf("a step of a claim that is over = %v", err)
	}
	if _, _, err := e.ClaimedSubscription(e.ctx, c); !errors.Is(err, model.ErrStaleWriter) {
		e.Errorf("a look of a claim that is over = %v", err)
	}

	e.must(e.DeleteSubscription(e.ctx, e.ns, "s1"))
	if _, _, err := e.ClaimedSubscription(e.ctx, second); !errors.Is(err, model.ErrSubscriptionNotFound) {
		e.Errorf("a look at what is deleted = %v", err)
	}
	// One of the same name is another one.
	if stored, created, err = e.PutSubscription(e.ctx, subscription(e, "s1")); err != nil || !created || stored.Sent != 0 || stored.DeadLetters != 0 {
		e.Errorf("made again: %+v, %v", stored, err)
	}
	if err := e.EventSent(e.ctx, second, event("5-0")); !errors.Is(err, model.ErrStaleWriter) {
		e.Errorf("a step of a claim of the one before = %v", err)
	}
	e.must(e.DeleteSubscription(e.ctx, e.ns, "s1"))
}

func TestSubscriptionLife(t *testing.T) {
	t.Parallel()
	subscriptionLife(newEnv(t))
}

func TestSubscriptionRefusals(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	none := subscription(e, "s")
	none.Secret = ""
	if _, _, err := e.PutSubscription(e.ctx, none); kindOf(err) != model.ErrorInvalid || !strings.Contains(err.Error(), "secret") {
		t.Errorf("without a secret = %v", err)
	}
	for i := range model.MaxSubscriptions {
		_, _, err := e.PutSubscription(e.ctx, subscription(e, fmt.Sprintf("s%d", i)))
		e.must(err)
	}
	if _, _, err := e.PutSubscription(e.ctx, subscription(e, "more")); kindOf(err) != model.ErrorConflict {
		t.Errorf("one too many = %v", err)
	}
	if _, created, err := e.PutSubscription(e.ctx, subscription(e, "s5")); created || err != nil {
		t.Errorf("one that is there = %v", err)
	}
	subs, err := e.Subscriptions(e.ctx, e.ns)
	e.must(err)
	if len(subs) != model.MaxSubscriptions || subs[0].Name != "s0" || subs[1].Name != "s1" || subs[2].Name != "s10" {
		t.Errorf("%d subscriptions, beginning with %s", len(subs), subs[0].Name)
	}
	for name, err := range map[string]error{
		"read": errOf(e.Subscription(e.ctx, e.ns, "none")), "delete": e.DeleteSubscription(e.ctx, e.ns, "none"),
		"dead letters": errOf(e.DeadLetters(e.ctx, e.ns, "none", 0, "")), "retry": errOf(e.RetryDeadLetters(e.ctx, e.ns, "none")),
		"claim": errOf(e.ClaimSubscription(e.ctx, e.ns, "none")),
	} {
		if !errors.Is(err, model.ErrSubscriptionNotFound) {
			t.Errorf("%s = %v", name, err)
		}
	}
}

// TestDeadLettersAreBounded: the oldest goes, and that is counted.
func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	_, _, err := e.PutSubscription(e.ctx, subscription(e, "s1"))
	e.must(err)
	c, err := e.ClaimSubscription(e.ctx, e.ns, "s1")
	e.must(err)
	for i := range model.MaxDeadLetters + 5 {
		e.must(e.EventDead(e.ctx, c, &model.Event{ID: fmt.Sprintf("1-%d", i), At: start, Event: model.EventGap}, 3, "no"))
	}
	sub, err := e.Subscription(e.ctx, e.ns, "s1")
	e.must(err)
	if sub.DeadLetters != model.MaxDeadLetters || sub.Dropped != 5 {
		t.Errorf("%d dead letters, %d dropped", sub.DeadLetters, sub.Dropped)
	}
}
