package model

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// CommandName says what a command orders.
type CommandName string

// The commands. Everything that anybody may ask of a saved object is one of these.
const (
	// CommandRelease takes a lease or a resource back.
	CommandRelease CommandName = "release"
	// CommandReclaim releases a resource if nobody uses it; refused, with the reason, when somebody does.
	CommandReclaim CommandName = "reclaim"
	// CommandExtend moves the instant at which a lease or resource ends to a later one.
	CommandExtend CommandName = "extend"
	// CommandPause stops a resource from taking new leases; its leases live on.
	CommandPause CommandName = "pause"
	// CommandUnpause undoes CommandPause.
	CommandUnpause CommandName = "unpause"
	// CommandUpdate makes the blueprint read the resource again, for example its capacity.
	CommandUpdate CommandName = "update"
)

// CommandNames lists every command.
func CommandNames() []CommandName {
	return []CommandName{CommandRelease, CommandReclaim, CommandExtend, CommandPause, CommandUnpause, CommandUpdate}
}

// commandKinds says which objects take which command.
var commandKinds = map[CommandName][]Kind{
	CommandRelease: {KindLease, KindResource},
	CommandReclaim: {KindResource},
	CommandExtend:  {KindLease, KindResource},
	CommandPause:   {KindResource},
	CommandUnpause: {KindResource},
	CommandUpdate:  {KindResource},
}

// For reports whether objects of kind k take the command at all.
func (c CommandName) For(k Kind) bool { return slices.Contains(commandKinds[c], k) }

// Outcome says how a command was consumed; empty while it waits.
type Outcome string

// The outcomes. Every command gets exactly one.
const (
	// OutcomeApplied says that the command did what it orders.
	OutcomeApplied Outcome = "applied"
	// OutcomeRefused says that a rule spoke against it; the command's detail says which.
	OutcomeRefused Outcome = "refused"
	// OutcomeSuperseded says that the object was already where the command leads, or gone.
	OutcomeSuperseded Outcome = "superseded"
)

// Origin says from where a command came.
type Origin struct {
	Via       Via    `json:"via"`
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Via names the door through which a command came.
type Via string

// The doors.
const (
	ViaAPI     Via = "api"
	ViaCLI     Via = "cli"
	ViaConsole Via = "console"
	ViaWorker  Via = "worker"
)

// SystemAuthor is the author of commands that Drydock sends itself: expiry, cascades, reclaims.
const SystemAuthor = "drydock"

// AnonymousAuthor is the author of commands whose sender does not say who he is.
const AnonymousAuthor = "anonymous"

// Command is an order to one object, kept as history after it was consumed.
type Command struct {
	ID     string
	Target Ref
	Name   CommandName
	// Args are the command's arguments as the sender wrote them: a JSON object, or nil.
	Args   json.RawMessage
	Author string
	Origin Origin
	Reason string
	SentAt time.Time
	// Trace is the W3C traceparent of whoever sent it; empty when nobody traces. It is for workers, not for callers.
	Trace string

	// The rest is empty until the command is consumed.

	ConsumedAt time.Time
	Outcome    Outcome
	// Detail says in words what came of it, for example why it was refused.
	Detail string
	// Fence and Worker name the claim that consumed it.
	Fence  int64
	Worker string
}

// Limits on what a command carries.
const (
	MaxReasonLength = 1000
	maxArgsLength   = 4096
)

// ExtendArgs are the arguments of CommandExtend: exactly one of the two.
type ExtendArgs struct {
	// TTL counts from the instant the command was sent.
	TTL Duration `json:"ttl"`
	// Until is the new end itself.
	Until time.Time `json:"until"`
}

// UntilAt returns the end that the arguments ask for when the command was sent at sentAt.
func (a ExtendArgs) UntilAt(sentAt time.Time) time.Time {
	if a.TTL > 0 {
		return sentAt.Add(time.Duration(a.TTL))
	}
	return a.Until
}

// ParseExtendArgs reads and checks the arguments of CommandExtend. Errors are [ErrorInvalid] and name the field below
// "args".
func ParseExtendArgs(args json.RawMessage) (ExtendArgs, error) {
	var a ExtendArgs
	var fields map[string]json.RawMessage
	if len(args) > 0 {
		if err := json.Unmarshal(args, &fields); err != nil {
			return a, Invalid("args", "%s", jsonReason(err))
		}
	}
	// By hand, because encoding/json takes a name in any case, and a field that is silently another one does what nobody meant.
	into := map[string]any{"ttl": &a.TTL, "until": &a.Until}
	for _, name := range sortedKeys(fields) {
		switch v, known := into[name]; {
		case !known:
			return a, Invalid("args", "unknown field %s; extend takes ttl or until", Quote(name))
		case string(fields[name]) == "null":
		default:
			if err := json.Unmarshal(fields[name], v); err != nil {
				if name == "until" {
					return a, Invalid("args.until", "must be an RFC 3339 time in quotes")
				}
				return a, Invalid("args."+name, "%s", jsonReason(err))
			}
		}
	}
	switch {
	case a.TTL == 0 && a.Until.IsZero():
		return a, Invalid("args", "extend takes either ttl (a duration such as \"30m\") or until (an RFC 3339 time)")
	case a.TTL != 0 && !a.Until.IsZero():
		return a, Invalid("args", "extend takes ttl or until, not both")
	case a.TTL != 0:
		return a, CheckTTL("args.ttl", time.Duration(a.TTL))
	}
	return a, nil
}

// ReclaimArgs are the arguments of a CommandReclaim that Drydock sends itself.
type ReclaimArgs struct {
	// Lease is the id of the waiting lease that needs the room; it is woken when the command is refused.
	Lease string `json:"lease,omitempty"`
	// Idle is how long the resource must have been idle, when that is not the grace that Drydock gives otherwise.
	Idle *Duration `json:"idle,omitempty"`
}

// CheckCommand checks a command before it is sent to an object of a kind: its name, its arguments and its reason.
// Errors are [ErrorInvalid] and name the field as the API spells it.
func CheckCommand(k Kind, name CommandName, args json.RawMessage, reason string) error {
	if !slices.Contains(CommandNames(), name) {
		return Invalid("command", "unknown command %s; known are %s", Quote(string(name)), Join(CommandNames()))
	}
	if !name.For(k) {
		return Invalid("command", "a %s does not take %q", k, name)
	}
	if len(args) > maxArgsLength {
		return Invalid("args", "must not be longer than %d bytes", maxArgsLength)
	}
	if len(args) > 0 && !json.Valid(args) {
		return Invalid("args", "is not valid JSON")
	}
	if err := CheckText("reason", reason, MaxReasonLength); err != nil {
		return err
	}
	if name == CommandExtend {
		_, err := ParseExtendArgs(args)
		return err
	}
	if a := bytes.TrimSpace(args); len(a) > 0 && !bytes.Equal(a, []byte("{}")) && !bytes.Equal(a, []byte("null")) {
		return Invalid("args", "%s takes no arguments", name)
	}
	return nil
}
