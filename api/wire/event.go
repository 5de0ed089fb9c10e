package wire

import "drydock/model"

// Event is an event as streams and subscriptions tell it.
type Event struct {
	// ID is unique in the namespace. Sent as Last-Event-ID, it asks for what follows.
	ID        string `json:"id"`
	At        Time   `json:"at"`
	Namespace string `json:"namespace"`
	// Type and Object say what it happened to: "lease" or "resource", and its id. Both are null in a "gap".
	Type   Text   `json:"type"`
	Object Text   `json:"object"`
	Event  string `json:"event"`
	// Status is the state of the object after the event.
	Status       Text   `json:"status"`
	Text         Text   `json:"text"`
	ResourceType Text   `json:"resource_type"`
	Name         Text   `json:"name"`
	Owner        Text   `json:"owner"`
	Resource     Text   `json:"resource"`
	Blueprint    Text   `json:"blueprint"`
	Command      Text   `json:"command"`
	Fence        Number `json:"fence"`
	Worker       Text   `json:"worker"`
}

// FromEvent converts an event.
func FromEvent(e *model.Event) Event {
	return Event{
		ID:           e.ID,
		At:           Time{e.At},
		Namespace:    e.Namespace,
		Type:         Text(e.Object.Kind),
		Object:       Text(e.Object.ID),
		Event:        string(e.Event),
		Status:       Text(e.Status),
		Text:         Text(e.Text),
		ResourceType: Text(e.ResourceType),
		Name:         Text(e.Name),
		Owner:        Text(e.Owner),
		Resource:     Text(e.Resource),
		Blueprint:    Text(e.Blueprint),
		Command:      Text(e.Command),
		Fence:        Number(e.Fence),
		Worker:       Text(e.Worker),
	}
}

// EventFilter selects events: those that are in each list; an empty list selects all.
type EventFilter struct {
	Types  []string `json:"types"`
	Events []string `json:"events"`
	Status []string `json:"status"`
}

// UnmarshalJSON refuses unknown fields, and such as are spelt otherwise. Errors name the field.
func (f *EventFilter) UnmarshalJSON(b []byte) error {
	var out EventFilter
	const rule = "must be a list of strings"
	err := readObject(b, member{"types", &out.Types, rule}, member{"events", &out.Events, rule}, member{"status", &out.Status, rule})
	if err == nil {
		*f = out
	}
	return err
}

func (f EventFilter) model() model.EventFilter {
	var out model.EventFilter
	for _, t := range f.Types {
		out.Types = append(out.Types, model.Kind(t))
	}
	for _, e := range f.Events {
		out.Events = append(out.Events, model.EventType(e))
	}
	out.Status = f.Status
	return out
}
