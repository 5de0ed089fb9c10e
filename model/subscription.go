package model

import "time"

// Subscription sends the events of a namespace to a service, as signed requests, in order and each at least once.
type Subscription struct {
	Namespace string
	Name      string
	URL       string
	// Secret signs the requests. It is never shown.
	Secret string
	Filter EventFilter
	// Enabled is false when nothing is sent for now; the place in the log is kept.
	Enabled bool
	// Tries is how often an event is sent before it becomes a dead letter.
	Tries int

	CreatedAt, UpdatedAt time.Time

	// The rest is how far it has come.

	// Position is that of the last event that is done with: sent, passed over or a dead letter.
	Position string
	// Sent counts the events that the service accepted, SentAt is when it accepted the last.
	Sent   int64
	SentAt time.Time
	// Failures counts the failed tries of the next event, LastError says why the last one failed, TryAt is when it is tried again.
	Failures  int
	LastError string
	TryAt     time.Time
	// DeadLetters counts the events that were given up and are kept, Dropped those that are not even kept any more.
	DeadLetters, Dropped int64
	// Retry is the newest dead letter that is to be sent again; empty = none is.
	Retry string
}

// Limits of subscriptions.
const (
	MaxSubscriptions = 100
	DefaultTries     = 10
	MaxTries         = 50
	MinSecretLength  = 16
	MaxSecretLength  = 500
	// MaxDeadLetters is how many a subscription keeps; then the oldest goes.
	MaxDeadLetters = 1000
)

// Check checks all but the URL; errors are [ErrorInvalid] and name the field. An empty secret is none, and left to the store.
func (s *Subscription) Check() error {
	if err := CheckName("name", s.Name); err != nil {
		return err
	}
	if s.Secret != "" && (len(s.Secret) < MinSecretLength || len(s.Secret) > MaxSecretLength) {
		return Invalid("secret", "must be %d to %d bytes long", MinSecretLength, MaxSecretLength)
	}
	if s.Tries < 1 || s.Tries > MaxTries {
		return Invalid("tries", "must be between 1 and %d", MaxTries)
	}
	return s.Filter.Check("filter.types", "filter.events", "filter.status")
}

// DeadLetter is an event that a service did not accept.
type DeadLetter struct {
	// ID sorts by when the event was given up and is the cursor to page with.
	ID    string
	At    time.Time
	Event Event
	// Tries is how often it was sent; Reason says why the last try failed.
	Tries  int
	Reason string
}

// ErrSubscriptionNotFound says that no subscription has this name.
var ErrSubscriptionNotFound = Errorf(ErrorNotFound, "no such subscription")
