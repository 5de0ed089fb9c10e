package handlers

import (
	"encoding/json"
	"fmt"
	"time"

	"drydock/model"
	"drydock/store"
)

// decision is what the waiting commands of an object come to.
type decision struct {
	consume []store.Consumption
	log     []store.Entry
	// release says that the object is to be released, and why.
	release bool
	reason  string
	// until is the new end; nil = unchanged.
	until *time.Time
	// paused is the new flag of a resource; nil = unchanged.
	paused *bool
	// update is the command that asks the blueprint to read the resource again; nil if none does. It is consumed with the
	// result of that hook, not here, and everything behind it waits until then.
	update *model.Command
	// reclaims says that the release came from a reclaim, so that a lease that slipped in makes it refused.
	reclaims bool
	// retires says that the reclaim came for its age alone: it is refused when the blueprint needs the resource.
	retires bool
	// wake are leases that waited for a reclaim which was refused: they may ask another resource.
	wake []model.Ref
}

// decideLease looks at the commands of a lease in order. now is the server's time.
func decideLease(l *model.Lease, commands []*model.Command, now time.Time) decision {
	var d decision
	until := l.Until
	for _, cmd := range commands {
		switch {
		case !l.Status.Commandable() || d.release:
			d.supersede(cmd, "the lease is already released")
		case cmd.Name == model.CommandRelease:
			d.applyRelease(cmd)
		case cmd.Name == model.CommandExtend && l.Status == model.LeaseBroken:
			d.refuse(cmd, "the lease is broken")
		case cmd.Name == model.CommandExtend:
			d.extend(cmd, &until, now)
		default:
			d.refuse(cmd, fmt.Sprintf("a lease does not take %q", cmd.Name))
		}
	}
	return d
}

// decideResource looks at the commands of a resource in order, up to the first that needs the blueprint. grace is how long an
// idle resource is kept from being reclaimed after it was activated or last used.
func decideResource(r *model.Resource, commands []*model.Command, now time.Time, grace time.Duration) decision {
	var d decision
	until, paused := r.Until, r.Paused
	for _, cmd := range commands {
		switch {
		case !r.Status.Commandable() || d.release:
			d.supersede(cmd, "the resource is already released")
		case cmd.Name == model.CommandRelease:
			d.applyRelease(cmd)
		case r.Status == model.ResourceBroken:
			d.refuse(cmd, "the resource is broken")
		case cmd.Name == model.CommandReclaim:
			args := reclaimArgs(cmd)
			if args.Idle != nil {
				grace = time.Duration(*args.Idle)
			}
			if why := whyNotReclaim(r, now, grace); why != "" {
				d.refuse(cmd, why)
				d.wakeSender(cmd, args)
				continue
			}
			d.applyRelease(cmd)
			d.reclaims, d.retires = true, args.Idle != nil && grace > 0
		case cmd.Name == model.CommandExtend:
			d.extend(cmd, &until, now)
		case cmd.Name == model.CommandPause || cmd.Name == model.CommandUnpause:
			d.pause(cmd, r, &paused)
		case cmd.Name == model.CommandUpdate && r.Status != model.ResourceActive:
			d.refuse(cmd, fmt.Sprintf("the resource is %s, not active", r.Status))
		case cmd.Name == model.CommandUpdate:
			d.update = cmd
			return d
		default:
			d.refuse(cmd, fmt.Sprintf("a resource does not take %q", cmd.Name))
		}
	}
	return d
}

// idleSince is when a resource was last of use.
func idleSince(r *model.Resource) time.Time {
	if r.IdleSince.After(r.ActivatedAt) {
		return r.IdleSince
	}
	return r.ActivatedAt
}

func whyNotReclaim(r *model.Resource, now time.Time, grace time.Duration) string {
	switch {
	case r.Status != model.ResourceActive:
		return fmt.Sprintf("the resource is %s, not active", r.Status)
	case len(r.Leases) == 1:
		return "a lease has a place on it"
	case len(r.Leases) > 1:
		return fmt.Sprintf("%d leases have places on it", len(r.Leases))
	case now.Sub(idleSince(r)) < grace:
		return fmt.Sprintf("it was in use a moment ago (reclaimable after %s idle)", grace)
	}
	return ""
}

func (d *decision) add(cmd *model.Command, outcome model.Outcome, event model.EventType, detail string) {
	d.consume = append(d.consume, store.Consumption{Command: cmd, Outcome: outcome, Detail: detail})
	text := fmt.Sprintf("%s %s", cmd.Name, outcome)
	if detail != "" {
		text += ": " + detail
	}
	// The history tells of superseded commands; a thousand of them would push everything else out of the log.
	if outcome != model.OutcomeSuperseded {
		d.log = append(d.log, store.Entry{Event: event, Text: text, Command: cmd.ID})
	}
}

func (d *decision) supersede(cmd *model.Command, detail string) {
	d.add(cmd, model.OutcomeSuperseded, model.EventConsumed, detail)
}

func (d *decision) refuse(cmd *model.Command, detail string) {
	d.add(cmd, model.OutcomeRefused, model.EventRefused, detail)
}

// reclaimArgs reads the arguments of a reclaim; an operator's has none.
func reclaimArgs(cmd *model.Command) (args model.ReclaimArgs) {
	if len(cmd.Args) > 0 {
		_ = json.Unmarshal(cmd.Args, &args) // ours, or {}
	}
	return args
}

// wakeSender wakes the waiting lease that a refused reclaim came from, if it came from one.
func (d *decision) wakeSender(cmd *model.Command, args model.ReclaimArgs) {
	if model.ValidID(args.Lease) {
		d.wake = append(d.wake, model.LeaseRef(cmd.Target.Namespace, args.Lease))
	}
}

func (d *decision) applyRelease(cmd *model.Command) {
	d.add(cmd, model.OutcomeApplied, model.EventConsumed, "")
	d.release = true
	d.reason = fmt.Sprintf("%s by %s", cmd.Name, cmd.Author)
	if cmd.Reason != "" {
		d.reason += ": " + cmd.Reason
	}
}

// extend never revives an object whose end has passed, and never shortens.
func (d *decision) extend(cmd *model.Command, until *time.Time, now time.Time) {
	args, err := model.ParseExtendArgs(cmd.Args)
	if err != nil {
		d.refuse(cmd, err.Error())
		return
	}
	wanted := args.UntilAt(cmd.SentAt)
	switch {
	case until.IsZero():
		d.refuse(cmd, "it has no end that could be moved")
	case !until.After(now):
		d.refuse(cmd, "its end has passed")
	case wanted.Before(*until):
		d.refuse(cmd, "the new end is before the present one, "+until.Format(time.RFC3339))
	case wanted.Sub(now) > model.MaxTTL:
		d.refuse(cmd, fmt.Sprintf("the new end is more than %d days away", int(model.MaxTTL.Hours()/24)))
	default:
		*until = wanted
		d.until = &wanted
		d.add(cmd, model.OutcomeApplied, model.EventExtended, "until "+wanted.UTC().Format(time.RFC3339))
	}
}

func (d *decision) pause(cmd *model.Command, r *model.Resource, paused *bool) {
	want, event := cmd.Name == model.CommandPause, model.EventPaused
	if !want {
		event = model.EventUnpaused
	}
	switch {
	case r.Status != model.ResourceActive:
		d.refuse(cmd, fmt.Sprintf("the resource is %s, not active", r.Status))
	case *paused == want:
		d.supersede(cmd, "nothing changes")
	default:
		*paused = want
		d.paused = &want
		d.add(cmd, model.OutcomeApplied, event, "")
	}
}
