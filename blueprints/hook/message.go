package hook

import (
	"regexp"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"drydock/blueprints"
	"drydock/model"
)

// Step names one piece of outside work.
type Step string

// The steps, in the order of a life.
const (
	// StepAllocate prepares the making of a resource. Nothing that must be cleaned up may be made here: the resource may
	// still go to somebody else.
	StepAllocate Step = "allocate"
	// StepActivate makes the resource usable.
	StepActivate Step = "activate"
	// StepUpdate reads the resource again.
	StepUpdate Step = "update"
	// StepDestroy cleans up a resource that has no leases any more.
	StepDestroy Step = "destroy"
	// StepAcquire agrees to put a lease on a resource.
	StepAcquire Step = "acquire"
	// StepActivateLease makes the resource ready for the lease.
	StepActivateLease Step = "activate_lease"
	// StepReleaseLease takes the resource back from the lease.
	StepReleaseLease Step = "release_lease"
	// StepDestroyLease cleans up after the lease, released or broken.
	StepDestroyLease Step = "destroy_lease"
)

// Steps lists every step.
func Steps() []Step {
	return []Step{
		StepAllocate, StepActivate, StepUpdate, StepDestroy, StepAcquire, StepActivateLease, StepReleaseLease, StepDestroyLease,
	}
}

// Message tells the program what to do. Its JSON form is part of the contract with programs: fields may be added, not
// renamed; absent values are null.
type Message struct {
	Step   Step   `json:"step"`
	Object Object `json:"object"`
	// Fence is higher for each later attempt; a target that remembers the highest can refuse an older one.
	Fence int64 `json:"fence"`
	// IdempotencyKey is the same for each attempt at this step for this object.
	IdempotencyKey string    `json:"idempotency_key"`
	Attempt        int       `json:"attempt"`
	Blueprint      string    `json:"blueprint"`
	Resource       *Resource `json:"resource"`
	Lease          *Lease    `json:"lease"`
}

// Object is what the step is about.
type Object struct {
	Namespace string     `json:"namespace"`
	Kind      model.Kind `json:"kind"`
	ID        string     `json:"id"`
}

// Resource is the resource of a step; in [StepAllocate] the one that is to be made, which has no id yet.
type Resource struct {
	ID         *string           `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Attributes map[string]string `json:"attributes"`
	Capacity   int               `json:"capacity"`
	Leases     []string          `json:"leases"`
	Until      *time.Time        `json:"until"`
	Facts      string            `json:"facts"`
}

// Lease is the lease of a step; in [StepAllocate] the one for which the resource is made.
type Lease struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Owner      string            `json:"owner"`
	Attributes map[string]string `json:"attributes"`
	Until      *time.Time        `json:"until"`
}

// Answer is what a program found out. Every field may be absent, and so may the answer.
type Answer struct {
	// Attributes are set on the resource, beside those it has; null takes one away.
	Attributes map[string]*string `json:"attributes"`
	// Capacity is how many leases the resource takes at once.
	Capacity *int `json:"capacity"`
	// Facts are kept with the resource and come back in each later message.
	Facts *string `json:"facts"`
	// Until is the instant the resource ends.
	Until *time.Time `json:"until"`
	// Slots are slot locks to take: with the resource in [StepAllocate], with the lease in [StepAcquire].
	Slots []string `json:"slots"`
}

// Limits on what a program may answer.
const (
	MaxFacts    = 16 << 10
	MaxSlots    = 16
	MaxCapacity = 1000
	// MaxRetryAfter bounds the delay that a program may ask for, so that a slip of it cannot park an object for a year.
	MaxRetryAfter = time.Hour
)

// slotPattern keeps what would be special in a Redis key or a hash tag out of slot keys.
var slotPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`)

// takes says which fields of an answer a step reads. Steps that are not here take no answer, and whatever the program
// says then is ignored: `rm -v` is a fine hook.
var takes = map[Step]string{
	StepAllocate: "attributes capacity facts until slots",
	StepActivate: "attributes capacity facts until",
	StepUpdate:   "attributes capacity facts until",
	StepAcquire:  "slots",
}

// parseAnswer reads and checks what a program said at a step.
func parseAnswer(step Step, raw []byte) (Answer, error) {
	var a Answer
	allowed, ok := takes[step]
	if !ok || len(strings.TrimSpace(string(raw))) == 0 {
		return a, nil
	}
	if err := blueprints.DecodeStrict("answer", raw, &a); err != nil {
		return a, err
	}
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"attributes", a.Attributes != nil},
		{"capacity", a.Capacity != nil},
		{"facts", a.Facts != nil},
		{"until", a.Until != nil},
		{"slots", a.Slots != nil},
	} {
		if f.given && !strings.Contains(allowed, f.name) {
			return a, model.Invalid("answer."+f.name, "%s does not take it", step)
		}
	}
	return a, a.check()
}

func (a *Answer) check() error {
	if a.Capacity != nil && (*a.Capacity < 1 || *a.Capacity > MaxCapacity) {
		return model.Invalid("answer.capacity", "must be between 1 and %d", MaxCapacity)
	}
	if a.Facts != nil {
		if err := model.CheckText("answer.facts", *a.Facts, MaxFacts); err != nil {
			return err
		}
	}
	// Beyond these years the API could not show it.
	if a.Until != nil && (a.Until.UTC().Year() < 1970 || a.Until.UTC().Year() > 9999) {
		return model.Invalid("answer.until", "must be between the years 1970 and 9999")
	}
	if len(a.Slots) > MaxSlots {
		return model.Invalid("answer.slots", "must have at most %d entries", MaxSlots)
	}
	for _, slot := range a.Slots {
		if !slotPattern.MatchString(slot) {
			return model.Invalid("answer.slots", "%s must be 1 to 200 letters, digits and any of . _ : / @ + -", model.Quote(slot))
		}
	}
	return nil
}

// ParseYield reads what a program said when it put a step off: a JSON object with "retry_after", a duration, and
// "reason". It never fails, since a program that cannot go on now is in no state to be told about its spelling. Secrets are left out of the
// reason.
func ParseYield(raw []byte, otherwise string, secrets ...string) error {
	var y struct {
		RetryAfter string `json:"retry_after"`
		Reason     string `json:"reason"`
	}
	if jsonv2.Unmarshal(raw, &y) != nil {
		y.RetryAfter, y.Reason = "", ""
	}
	after, err := time.ParseDuration(y.RetryAfter)
	if err != nil {
		after = 0
	}
	reason := y.Reason
	for _, secret := range secrets {
		reason = blueprints.PrintableWithout(secret, reason)
	}
	return Yield(after, reason, otherwise)
}

// Yield puts a step off by about after, within bounds, for the first reason that is not empty.
func Yield(after time.Duration, reasons ...string) error {
	reason := "no reason given"
	for _, r := range reasons {
		if r = blueprints.Printable(r); r != "" {
			reason = r
			break
		}
	}
	if len(reason) > model.MaxReasonLength {
		reason = strings.ToValidUTF8(reason[:model.MaxReasonLength], "") + "…"
	}
	return blueprints.Yield(min(max(after, 0), MaxRetryAfter), "%s", reason)
}

// TakesAnswer reports whether a step reads an answer at all.
func TakesAnswer(step Step) bool {
	_, ok := takes[step]
	return ok
}
