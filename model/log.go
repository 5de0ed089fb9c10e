package model

import "time"

// EventType names what a log entry tells.
type EventType string

// The events in the logs of leases and resources.
const (
	EventQueued       EventType = "queued"        // the lease was accepted
	EventAllocated    EventType = "allocated"     // a resource was made
	EventWaiting      EventType = "waiting"       // the lease found nothing and waits
	EventSent         EventType = "command-sent"  // a command was accepted
	EventConsumed     EventType = "consumed"      // a command was consumed
	EventAcquired     EventType = "acquired"      // the lease has its place and its slot locks
	EventActivated    EventType = "activated"     // ready for use
	EventRequeued     EventType = "requeued"      // the resource died first; the lease waits again
	EventReleased     EventType = "released"      // given back
	EventBroken       EventType = "broken"        // failed for good
	EventDestroyed    EventType = "destroyed"     // nothing is held any more
	EventYield        EventType = "yield"         // put off until later
	EventHookBegun    EventType = "hook-begun"    // outside work is about to run
	EventHookDone     EventType = "hook-done"     // outside work succeeded
	EventHookFailed   EventType = "hook-failed"   // outside work failed and will be tried again
	EventExtended     EventType = "extended"      // until has moved
	EventPaused       EventType = "paused"        // takes no new leases
	EventUnpaused     EventType = "unpaused"      // takes leases again
	EventUpdated      EventType = "updated"       // the blueprint has read the resource again
	EventRefused      EventType = "refused"       // a command was refused
	EventGraceElapsed EventType = "grace-elapsed" // destroyed although leases had not finished
	EventGone         EventType = "gone"          // the blueprint does not have the resource any more
	EventAllocFailed  EventType = "alloc-failed"  // a blueprint failed to make a resource
	EventDataChanged  EventType = "data-changed"  // the notes on it were written; told to readers, not logged
)

// LogEntry is one step in the life of an object.
type LogEntry struct {
	// ID sorts entries of one object and is the cursor to page with.
	ID    string
	At    time.Time
	Event EventType
	// Text says it in words.
	Text string
	// Command is the id of the command it is about; empty if none.
	Command string
	// Fence and Worker name the claim that wrote it; zero for what senders wrote.
	Fence  int64
	Worker string
}
