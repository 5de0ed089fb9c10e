package wire

import (
	"encoding/json"

	"drydock/model"
)

// Command is a command as the API shows it.
type Command struct {
	ID string `json:"id"`
	// Target is the id of the object that the command is for, TargetKind its noun.
	Target     string          `json:"target"`
	TargetKind string          `json:"target_kind"`
	Command    string          `json:"command"`
	Args       json.RawMessage `json:"args"`
	Author     Text            `json:"author"`
	Origin     Origin          `json:"origin"`
	Reason     Text            `json:"reason"`
	SentAt     Time            `json:"sent_at"`
	// The rest is null until the command is consumed.
	ConsumedAt Time   `json:"consumed_at"`
	Outcome    Text   `json:"outcome"`
	Detail     Text   `json:"detail"`
	Fence      Number `json:"fence"`
	Worker     Text   `json:"worker"`
}

// Origin says from where a command came.
type Origin struct {
	Via       string `json:"via"`
	Address   Text   `json:"address"`
	UserAgent Text   `json:"user_agent"`
	RequestID Text   `json:"request_id"`
}

func fromOrigin(o model.Origin) Origin {
	return Origin{Via: string(o.Via), Address: Text(o.Address), UserAgent: Text(o.UserAgent), RequestID: Text(o.RequestID)}
}

// FromCommand converts a command.
func FromCommand(c *model.Command) Command {
	return Command{
		ID:         c.ID,
		Target:     c.Target.ID,
		TargetKind: string(c.Target.Kind),
		Command:    string(c.Name),
		Args:       orNil(c.Args),
		Author:     Text(c.Author),
		Origin:     fromOrigin(c.Origin),
		Reason:     Text(c.Reason),
		SentAt:     Time{c.SentAt},
		ConsumedAt: Time{c.ConsumedAt},
		Outcome:    Text(c.Outcome),
		Detail:     Text(c.Detail),
		Fence:      Number(c.Fence),
		Worker:     Text(c.Worker),
	}
}

// Release is the body of POST …/release; it may be left out.
type Release struct {
	Reason string `json:"reason,omitempty"`
}

// NewCommand is the body of POST …/commands.
type NewCommand struct {
	Command string          `json:"command"`
	Args    json.RawMessage `json:"args,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

// Arguments returns the arguments, nil when none were given.
func (c NewCommand) Arguments() json.RawMessage { return orNil(c.Args) }

// LeaseSent answers a command that was sent to a lease. Command is null when a release found the lease already released.
type LeaseSent struct {
	Command *Command `json:"command"`
	Lease   Lease    `json:"lease"`
}

// ResourceSent answers a command that was sent to a resource. Command is null when a release found it already released.
type ResourceSent struct {
	Command  *Command `json:"command"`
	Resource Resource `json:"resource"`
}

// FromSent converts what came of sending a command: a [LeaseSent] or a [ResourceSent].
func FromSent(s model.Sent) any {
	var command *Command
	if s.Command != nil {
		c := FromCommand(s.Command)
		command = &c
	}
	if s.Resource != nil {
		return ResourceSent{Command: command, Resource: FromResource(s.Resource)}
	}
	return LeaseSent{Command: command, Lease: FromLease(s.Lease)}
}
