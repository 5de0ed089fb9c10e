package model

import (
	"context"
	"slices"
	"time"
)

// Event is one entry of a namespace's ordered log of all that happens to its objects: what event streams and subscriptions tell.
type Event struct {
	// ID is unique in the namespace, and the position of whoever has seen the event and all before it.
	ID        string
	At        time.Time
	Namespace string
	// Object is what it happened to; zero for [EventGap].
	Object Ref
	Event  EventType
	// Status is the object's state after the event; empty for [EventGap].
	Status string
	// Text says it in words.
	Text string
	// The rest is empty where it does not apply or is not known.

	// ResourceType is the type of the resource, or of the one that the lease asks for.
	ResourceType string
	// Name is the name of the resource that the event is about.
	Name string
	// Owner is who uses the lease.
	Owner string
	// Resource is the id of the lease's resource.
	Resource  string
	Blueprint string
	// Command is the id of the command it is about.
	Command string
	// Fence and Worker name the claim that wrote it; zero for what senders wrote.
	Fence  int64
	Worker string
}

// The events that are in no object's log.
const (
	// EventChanged says that something about the object changed that its log does not tell.
	EventChanged EventType = "changed"
	// EventGap says that events before it are no longer kept: whoever follows must read the objects anew.
	EventGap EventType = "gap"
)

// EventTypes lists every event that a listener can meet, but for [EventGap], which every listener gets.
func EventTypes() []EventType {
	return []EventType{
		EventQueued, EventAllocated, EventWaiting, EventSent, EventConsumed, EventAcquired, EventActivated, EventRequeued, EventReleased,
		EventBroken, EventDestroyed, EventYield, EventHookBegun, EventHookDone, EventHookFailed, EventExtended, EventPaused, EventUnpaused,
		EventUpdated, EventRefused, EventGraceElapsed, EventAllocFailed, EventGone, EventDataChanged, EventChanged,
	}
}

// EventFilter selects events; an empty field selects all. [EventGap] passes every filter.
type EventFilter struct {
	Types  []Kind
	Object string
	Events []EventType
	Status []string
}

// Matches reports whether the filter selects an event.
func (f *EventFilter) Matches(e *Event) bool {
	if e.Event == EventGap {
		return true
	}
	return (len(f.Types) == 0 || slices.Contains(f.Types, e.Object.Kind)) &&
		(f.Object == "" || f.Object == e.Object.ID) &&
		(len(f.Events) == 0 || slices.Contains(f.Events, e.Event)) &&
		(len(f.Status) == 0 || slices.Contains(f.Status, e.Status))
}

// Check checks the words of a filter, whose fields are called by these names; errors are [ErrorInvalid].
func (f *EventFilter) Check(types, events, status string) error {
	for _, k := range f.Types {
		if !slices.Contains(Kinds(), k) {
			return Invalid(types, "unknown type of object %s; known are %s", Quote(string(k)), Join(Kinds()))
		}
	}
	for _, e := range f.Events {
		if !slices.Contains(EventTypes(), e) {
			return Invalid(events, "unknown event %s; known are %s", Quote(string(e)), Join(EventTypes()))
		}
	}
	states := objectStates()
	for _, s := range f.Status {
		if !slices.Contains(states, s) {
			return Invalid(status, "unknown state %s; known are %s", Quote(s), Join(states))
		}
	}
	return nil
}

// objectStates lists the states of leases and resources.
func objectStates() []string {
	var states []string
	for _, s := range LeaseStates() {
		states = append(states, string(s))
	}
	for _, s := range ResourceStates() {
		if !slices.Contains(states, string(s)) {
			states = append(states, string(s))
		}
	}
	return states
}

// EventReader follows the events of one namespace from a position on, in order and without leaving one out: where events are no
// longer kept, it returns an [EventGap]. It is for one goroutine.
type EventReader interface {
	// Next returns the events that follow, at least one, waiting for it until ctx ends; then it returns ctx's error, or
	// [ErrorUnavailable] when it could not look. It may be called again after any error.
	Next(ctx context.Context) ([]Event, error)
	// Position is where the reader stands: whoever begins there gets what this reader has not returned yet.
	Position() string
	// Close ends the reading.
	Close()
}
