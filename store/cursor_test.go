package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"drydock/model"
)

// oddCursors are cursors of streams that look like ids and stand at the end of what Redis can count to, or behind it.
var oddCursors = []string{
	"18446744073709551615-18446744073709551615", "18446744073709551615-0", "9223372036854775807-18446744073709551615",
	"9223372036854775808-1", strings.Repeat("0", 200) + "1-1", "1-" + strings.Repeat("0", 200) + "1", "18446744073709551616-0", "0-0", "1", "-", "1-1-1", "+1-1",
}

// TestOddCursorsAreTheCallersMistake: what somebody makes up for a cursor is answered with a page or refused, never with an error of ours.
func TestOddCursorsAreTheCallersMistake(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	_, _, err := e.PutSubscription(e.ctx, &model.Subscription{Namespace: e.ns, Name: "ci", URL: "https://example.org/", Secret: "sixteen bytes or more", Tries: 1})
	e.must(err)
	for _, after := range oddCursors {
		_, errLog := e.Store.Log(e.ctx, ref, 10, after)
		_, errLetters := e.DeadLetters(e.ctx, e.ns, "ci", 10, after)
		_, errCommands := e.Commands(e.ctx, ref, 10, after)
		_, errLeases := e.Leases(e.ctx, e.ns, model.LeaseFilter{After: after})
		for what, err := range map[string]error{"log": errLog, "dead letters": errLetters, "commands": errCommands, "leases": errLeases} {
			if err != nil && model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("the %s after %.50q: %v", what, after, err)
			}
		}
		reader, err := e.FollowEvents(e.ctx, e.ns, after)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("the events after %.50q: %v", after, err)
			}
			continue
		}
		// There is an event, or a gap before it; a position that is read as the last one of all would wait for ever.
		ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
		if _, err := reader.Next(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the events after %.50q: %v", after, err)
		}
		cancel()
		reader.Close()
	}
}
