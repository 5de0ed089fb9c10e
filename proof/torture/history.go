//go:build unix

package torture

import (
	"fmt"
	"time"

	"drydock/proof/torture/target"
)

// History is what is known of a run when it is over: what its clients were told, what came to the target, and what the API says in the end.
type History struct {
	Calls   []Call
	Effects []target.Effect
	Leases  []Lease
	// Resources are all that ever were.
	Resources []Resource
	// Commands are the histories of all objects, by id, each in the order that the API gives.
	Commands map[string][]Command
	// Begin is the time of day from which calls and failovers count.
	Begin time.Time
	// Failovers are all changes of the primary, one after the other.
	Failovers []Failover
	// MayForget: what was accepted may be lost, if the old primary had it and the promoted replica did not.
	MayForget bool
}

// Op is what a call wanted.
type Op string

// Ops.
const (
	OpCreate  Op = "create"
	OpRead    Op = "read"
	OpRelease Op = "release"
	// OpCommand is any other command.
	OpCommand Op = "command"
	// opForget is a failover, as seen by one lease.
	opForget Op = "forget"
)

// Call is one request of a client with all times that it was sent, under one idempotency key, until there was an answer.
type Call struct {
	Op Op
	// Author is nobody else's: it is the author of the command, or the owner of the lease, that this call makes.
	Author string
	// Object is the id of the lease or resource; for OpCreate it is the answer.
	Object string
	// Command is what was sent, by name; CommandID the accepted command, empty if none was made.
	Command   string
	CommandID string
	// BeginAt is before it was first sent, EndAt after its answer was read.
	BeginAt, EndAt time.Duration
	// Sent counts how often. Status is the answer's, 0 when there never was one: then nobody knows what became of it.
	Sent, Status int
	// Lease is what a read of a lease showed.
	Lease Lease
	// floor is how far the lease is, at least, after opForget.
	floor int
}

func (c Call) String() string {
	return fmt.Sprintf("%s %s %s by %s at %v to %v, sent %d times: %d", c.Op, c.Command, c.Object, c.Author, c.BeginAt, c.EndAt, c.Sent, c.Status)
}

// Lease is a lease as the API shows it.
type Lease struct {
	ID          string     `json:"id"`
	Type        string     `json:"type"`
	Status      string     `json:"status"`
	Releasing   bool       `json:"releasing"`
	Resource    string     `json:"resource"`
	Owner       string     `json:"owner"`
	Fence       int64      `json:"fence"`
	AcquiredAt  *time.Time `json:"acquired_at"`
	ActivatedAt *time.Time `json:"activated_at"`
	DestroyedAt *time.Time `json:"destroyed_at"`
}

// Resource is a resource as the API shows it.
type Resource struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	Status      string     `json:"status"`
	Releasing   bool       `json:"releasing"`
	Capacity    int        `json:"capacity"`
	Leases      int        `json:"leases"`
	ActivatedAt *time.Time `json:"activated_at"`
	DestroyedAt *time.Time `json:"destroyed_at"`
}

// rests says whether nothing is to be done about a resource.
func (r Resource) rests() bool {
	return (r.Status == "active" || r.Status == "destroyed") && !r.Releasing && r.Leases == 0
}

// Command is a command as the API shows it.
type Command struct {
	ID      string `json:"id"`
	Command string `json:"command"`
	Author  string `json:"author"`
	Origin  struct {
		Via string `json:"via"`
	} `json:"origin"`
	SentAt     time.Time  `json:"sent_at"`
	ConsumedAt *time.Time `json:"consumed_at"`
	Outcome    string     `json:"outcome"`
	Detail     string     `json:"detail"`
	Fence      int64      `json:"fence"`
}

// page is what a list says beside its items.
type page struct {
	Next *string `json:"next"`
}
