package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"drydock/api/wire"
	"drydock/locks"
	"drydock/metrics"
	"drydock/model"
	"drydock/outbound"
	"drydock/store"
)

// The headers of a request, beside those of package outbound.
const (
	// HeaderEvent is the event, such as "released".
	HeaderEvent = "Drydock-Event"
	// HeaderSubscription is the name of the subscription.
	HeaderSubscription = "Drydock-Subscription"
)

// recordTimeout bounds the recording of what became of an event, which is done even when the process is about to stop.
const recordTimeout = 2 * time.Second

// run serves one subscription while it holds its lock.
type run struct {
	*Runner
	lock  *locks.Lock
	claim *store.SubscriptionClaim
	sub   *model.Subscription
	// reader brings events; those that it brought and that are not done with wait in events.
	reader model.EventReader
	events []model.Event
	// passed is the position behind events that are not for the service and not recorded as passed yet; empty = there are none.
	passed string
}

// serve serves a subscription until it is disabled or deleted, somebody else serves it, or ctx ends.
func (r *Runner) serve(ctx context.Context, name subscriptionName) error {
	// Most often somebody else holds the lock: ask first whether there is anything to do.
	sub, err := r.store.Subscription(ctx, name.namespace, name.name)
	if err != nil || !sub.Enabled {
		return err
	}
	lock, err := r.locks.TryLock(ctx, store.SubscriptionLockKey(name.namespace, name.name))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	ctx = lock.Context()
	claim, err := r.store.ClaimSubscription(ctx, name.namespace, name.name)
	if err != nil {
		return err
	}
	s := &run{Runner: r, lock: lock, claim: claim}
	defer func() {
		if s.reader != nil {
			s.reader.Close()
		}
	}()
	for ctx.Err() == nil {
		again, err := s.step(ctx)
		if err != nil || !again {
			return err
		}
	}
	return context.Cause(ctx)
}

// step does one thing: it sends a dead letter or an event, or waits for one. It reads the subscription each time, so that a change is
// followed at once.
func (s *run) step(ctx context.Context) (again bool, err error) {
	if err := s.lock.Trusted(); err != nil {
		return false, err
	}
	sub, letter, err := s.store.ClaimedSubscription(ctx, s.claim)
	if err != nil || !sub.Enabled {
		return false, err
	}
	s.sub = sub
	if s.reader == nil {
		if s.reader, err = s.store.FollowEvents(ctx, sub.Namespace, sub.Position); err != nil {
			return false, err
		}
	}
	if letter != nil {
		return true, s.resend(ctx, letter)
	}
	if wait := time.Until(sub.TryAt); wait > 0 {
		sleep(ctx, min(wait, s.cfg.Interval))
		return true, nil
	}
	for len(s.events) > 0 && !sub.Filter.Matches(&s.events[0]) {
		s.passed = s.events[0].ID
		s.events = s.events[1:]
	}
	if len(s.events) > 0 {
		return true, s.sendNext(ctx, &s.events[0])
	}
	return true, s.wait(ctx)
}

// wait reads the next events, for as long as a change of the subscription may go unnoticed.
func (s *run) wait(ctx context.Context) error {
	if s.passed != "" {
		if err := s.store.EventsPassed(ctx, s.claim, s.passed); err != nil {
			return err
		}
		s.passed = ""
	}
	waiting, cancel := context.WithTimeout(ctx, s.cfg.Interval)
	defer cancel()
	events, err := s.reader.Next(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	s.events = events
	return err
}

// sendNext sends the event that is next, and records what came of it.
func (s *run) sendNext(ctx context.Context, e *model.Event) error {
	if e.Event == model.EventGap && s.sub.Failures == 0 {
		s.cfg.Logger.Warn("events were trimmed before a subscription got to them", "namespace", s.sub.Namespace, "subscription", s.sub.Name,
			"position", s.sub.Position)
	}
	reason, err := s.post(ctx, e)
	if err != nil {
		return err
	}
	record, cancel := recording(ctx)
	defer cancel()
	switch failures := s.sub.Failures + 1; {
	case reason == "":
		err = s.store.EventSent(record, s.claim, e)
	case failures >= s.sub.Tries:
		s.cfg.Logger.Warn("an event became a dead letter", "namespace", s.sub.Namespace, "subscription", s.sub.Name, "event", e.ID, "tries", failures,
			"reason", reason)
		if err = s.store.EventDead(record, s.claim, e, failures, reason); err == nil {
			s.cfg.Metrics.DeadLetter()
		}
	default:
		return s.store.EventFailed(record, s.claim, failures, reason, time.Now().Add(s.pause(failures)))
	}
	if err == nil {
		s.events, s.passed = s.events[1:], ""
	}
	return err
}

// resend sends a dead letter once more.
func (s *run) resend(ctx context.Context, l *model.DeadLetter) error {
	reason, err := s.post(ctx, &l.Event)
	if err != nil {
		return err
	}
	record, cancel := recording(ctx)
	defer cancel()
	if reason == "" {
		return s.store.DeadLetterSent(record, s.claim, l)
	}
	return s.store.DeadLetterFailed(record, s.claim, l, reason)
}

// recording returns a context that outlives the end of the process for long enough to record what is known.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}

// pause is how long to wait after so many failed tries.
func (s *run) pause(failures int) time.Duration {
	pause := s.cfg.FirstPause
	for range failures - 1 {
		if pause *= 2; pause >= s.cfg.MostPause {
			return s.cfg.MostPause
		}
	}
	return min(pause, s.cfg.MostPause)
}

// post sends an event and counts it. reason says why the service did not accept it; an error means that nobody can tell, because this run
// is over.
func (s *run) post(ctx context.Context, e *model.Event) (reason string, err error) {
	result, reason, err := s.attempt(ctx, e)
	if err == nil {
		s.cfg.Metrics.Delivered(result)
	}
	return reason, err
}

// attempt is [run.post] with the result as the metrics call it.
func (s *run) attempt(ctx context.Context, e *model.Event) (result, reason string, err error) {
	body, err := json.Marshal(wire.FromEvent(e))
	if err != nil {
		return "", "", fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodPost, s.sub.URL, bytes.NewReader(body))
	if err != nil {
		return metrics.DeliveryUnreachable, "the URL cannot be used", nil
	}
	// Without it, the transport would send the request again by itself when a connection breaks.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "drydock")
	req.Header.Set(HeaderEvent, string(e.Event))
	req.Header.Set(HeaderSubscription, s.sub.Name)
	// Ids are unique within a namespace only, and a service may hear of several.
	req.Header.Set(outbound.HeaderIdempotencyKey, e.Namespace+"/"+e.ID)
	req.Header.Set(outbound.HeaderSignature, outbound.Sign([]byte(s.sub.Secret), body, time.Now()))
	resp, err := s.client.Do(req)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return "", "", context.Cause(ctx)
	case bounded.Err() != nil:
		return metrics.DeliveryTimeout, fmt.Sprintf("no answer within %s", s.cfg.Timeout), nil
	default:
		clean, forbidden := outbound.SendError(err)
		if forbidden {
			return metrics.DeliveryForbidden, clean.Error(), nil
		}
		return metrics.DeliveryUnreachable, clean.Error(), nil
	}
	defer resp.Body.Close()
	// What it says beyond its status is not kept: it might repeat the secret.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	reason = fmt.Sprintf("the service answered %d", resp.StatusCode)
	switch resp.StatusCode / 100 {
	case 2:
		return metrics.DeliveryOK, "", nil
	case 3:
		return metrics.DeliveryRedirect, reason + ": redirects are not followed", nil
	case 4:
		return metrics.DeliveryRefused, reason, nil
	}
	return metrics.DeliveryError, reason, nil
}
