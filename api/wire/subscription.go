package wire

import "drydock/model"

// Subscription is a subscription as the API shows it. Its secret is never shown.
type Subscription struct {
	Name      string      `json:"name"`
	Namespace string      `json:"namespace"`
	URL       string      `json:"url"`
	Filter    EventFilter `json:"filter"`
	Enabled   bool        `json:"enabled"`
	Tries     int         `json:"tries"`
	// Position is the id of the last event that is done with.
	Position string `json:"position"`
	// Sent counts the events that the service accepted.
	Sent   int64 `json:"sent"`
	SentAt Time  `json:"sent_at"`
	// Failures counts the failed tries of the next event, which is tried again at TryAt.
	Failures  int  `json:"failures"`
	TryAt     Time `json:"try_at"`
	LastError Text `json:"last_error"`
	// DeadLetters counts the events that were given up, Dropped those of them that are no longer kept.
	DeadLetters int64 `json:"dead_letters"`
	Dropped     int64 `json:"dropped"`
	// Retrying says that dead letters are being sent again.
	Retrying  bool `json:"retrying"`
	CreatedAt Time `json:"created_at"`
	UpdatedAt Time `json:"updated_at"`
}

// FromSubscription converts a subscription.
func FromSubscription(s *model.Subscription) Subscription {
	filter := EventFilter{Types: []string{}, Events: []string{}, Status: list(s.Filter.Status)}
	for _, t := range s.Filter.Types {
		filter.Types = append(filter.Types, string(t))
	}
	for _, e := range s.Filter.Events {
		filter.Events = append(filter.Events, string(e))
	}
	return Subscription{
		Name:        s.Name,
		Namespace:   s.Namespace,
		URL:         s.URL,
		Filter:      filter,
		Enabled:     s.Enabled,
		Tries:       s.Tries,
		Position:    s.Position,
		Sent:        s.Sent,
		SentAt:      Time{s.SentAt},
		Failures:    s.Failures,
		TryAt:       Time{s.TryAt},
		LastError:   Text(s.LastError),
		DeadLetters: s.DeadLetters,
		Dropped:     s.Dropped,
		Retrying:    s.Retry != "",
		CreatedAt:   Time{s.CreatedAt},
		UpdatedAt:   Time{s.UpdatedAt},
	}
}

// NewSubscription declares a subscription: the body of PUT /v1/subscriptions/{name}.
type NewSubscription struct {
	URL string `json:"url"`
	// Secret may be left out when the subscription is there already: it then stays as it is.
	Secret string       `json:"secret,omitempty"`
	Filter *EventFilter `json:"filter,omitempty"`
	// Enabled is true when left out.
	Enabled *bool `json:"enabled,omitempty"`
	// Tries is how often an event is sent before it is given up; 0 or left out = the default.
	Tries int `json:"tries,omitempty"`
}

// Model converts the declaration of the subscription with this name.
func (n NewSubscription) Model(namespace, name string) *model.Subscription {
	s := &model.Subscription{
		Namespace: namespace, Name: name, URL: n.URL, Secret: n.Secret, Enabled: n.Enabled == nil || *n.Enabled, Tries: n.Tries,
	}
	if n.Filter != nil {
		s.Filter = n.Filter.model()
	}
	if s.Tries == 0 {
		s.Tries = model.DefaultTries
	}
	return s
}

// DeadLetter is an event that was given up.
type DeadLetter struct {
	ID string `json:"id"`
	// At is when it was given up.
	At    Time  `json:"at"`
	Event Event `json:"event"`
	// Tries is how often it was sent, Reason why the last try failed.
	Tries  int    `json:"tries"`
	Reason string `json:"reason"`
}

// FromDeadLetter converts a dead letter.
func FromDeadLetter(l model.DeadLetter) DeadLetter {
	return DeadLetter{ID: l.ID, At: Time{l.At}, Event: FromEvent(&l.Event), Tries: l.Tries, Reason: l.Reason}
}

// DeadLettersRetried answers the order to send dead letters again.
type DeadLettersRetried struct {
	// Retrying is how many will be.
	Retrying int64 `json:"retrying"`
}
