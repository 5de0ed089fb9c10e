package wire

import "drydock/model"

// LogEntry is one step in the life of an object.
type LogEntry struct {
	ID    string `json:"id"`
	At    Time   `json:"at"`
	Event string `json:"event"`
	Text  Text   `json:"text"`
	// Command is the id of the command it is about.
	Command Text   `json:"command"`
	Fence   Number `json:"fence"`
	Worker  Text   `json:"worker"`
}

// FromLogEntry converts a log entry.
func FromLogEntry(e model.LogEntry) LogEntry {
	return LogEntry{
		ID:      e.ID,
		At:      Time{e.At},
		Event:   string(e.Event),
		Text:    Text(e.Text),
		Command: Text(e.Command),
		Fence:   Number(e.Fence),
		Worker:  Text(e.Worker),
	}
}

// Slot is a slot lock and who holds it.
type Slot struct {
	Key string `json:"key"`
	// Owner is the id of the object that holds it, OwnerKind its noun.
	Owner     string `json:"owner"`
	OwnerKind string `json:"owner_kind"`
}

// FromSlot converts a slot lock.
func FromSlot(s model.Slot) Slot {
	return Slot{Key: s.Key, Owner: s.Owner.ID, OwnerKind: string(s.Owner.Kind)}
}
