package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"drydock/api/wire"
	"drydock/auth"
	"drydock/client"
	"drydock/model"
)

// action is a button: what it sends, and why it cannot be pressed.
type action struct {
	Name, Label string
	Allowed     bool
	// Why says why it is not allowed.
	Why string
	// Effect says what will happen.
	Effect string
	// TTL says that it takes a duration.
	TTL bool
}

// releaseOf is the release button of an object in this state. The API has the last word: the state may have moved on meanwhile.
func releaseOf(v *visit, kind, status string, releasing bool, owner string) action {
	a := action{Name: string(model.CommandRelease), Label: "Release"}
	a.Why = whyNot(v, kind, status, owner)
	if a.Why == "" && releasing {
		a.Why = "It is being released already."
	}
	a.Allowed = a.Why == ""
	a.Effect = "The lease gives its resource back, its clean-up runs, and it ends. Its holder is not asked."
	switch {
	case kind == "resource":
		a.Effect = "Every lease on it is released first; then its clean-up runs and the resource is destroyed."
	case status == string(model.LeasePending):
		a.Effect = "The lease leaves the queue and ends. It never had a resource."
	}
	return a
}

func whyNot(v *visit, kind, status, owner string) string {
	releasable := model.LeaseState(status).Releasable()
	if kind == "resource" {
		releasable = model.ResourceState(status).Releasable()
	}
	switch role := v.role(); {
	case status == "destroyed":
		return "It is destroyed: nothing is held any more."
	case !releasable:
		return "It has been released already and is being cleaned up."
	case role.Includes(auth.RoleOperator), kind == "lease" && role.Includes(auth.RoleHolder) && v.who != nil && v.who.Name == owner:
		return ""
	case kind == "lease":
		return "Not allowed: this takes its owner or an operator, and you are " + string(role) + "."
	default:
		return "Not allowed: this takes an operator, and you are " + string(role) + "."
	}
}

// endless says why what never ends cannot be extended.
func endless(until wire.Time) string {
	if until.IsZero() {
		return "It has no end that could be moved."
	}
	return ""
}

func leaseActions(v *visit, l *wire.Lease) []action {
	why := cmp.Or(whyNot(v, "lease", l.Status, string(l.Owner)), endless(l.Until))
	return []action{
		releaseOf(v, "lease", l.Status, l.Releasing, string(l.Owner)),
		{Name: "extend", Label: "Extend", Allowed: why == "", Why: why, TTL: true, Effect: "The lease ends this long from now, if that is later than it does."},
	}
}

func resourceActions(v *visit, r *wire.Resource) []action {
	why := whyNot(v, "resource", r.Status, "")
	with := func(name, label, effect, extra string) action {
		reason := cmp.Or(why, extra)
		return action{Name: name, Label: label, Effect: effect, Allowed: reason == "", Why: reason, TTL: name == "extend"}
	}
	paused, notPaused, used := "", "", ""
	if r.Paused {
		paused = "It is paused already."
	} else {
		notPaused = "It is not paused."
	}
	if r.Leases > 0 {
		used = "It is in use; only an idle resource can be reclaimed."
	}
	return []action{
		releaseOf(v, "resource", r.Status, r.Releasing, ""),
		with("pause", "Pause", "It takes no new leases. Those that it has live on.", paused),
		with("unpause", "Unpause", "It takes leases again.", notPaused),
		with("reclaim", "Reclaim", "If nobody uses it when the command is consumed, and nobody has lately, it is released. Otherwise the command is refused.", used),
		with("extend", "Extend", "It ends this long from now, if that is later than it does.", endless(r.Until)),
		with("update", "Update", "Its blueprint reads it again, for example its capacity.", ""),
	}
}

// send sends a command to an object and shows the object, which follows the command.
func (c *Console) send(kind model.Kind) func(http.ResponseWriter, *http.Request, *visit) error {
	return func(w http.ResponseWriter, r *http.Request, v *visit) error {
		id, order := r.PathValue("id"), wire.NewCommand{Command: r.PostFormValue("command"), Reason: r.PostFormValue("reason")}
		if ttl := r.PostFormValue("ttl"); order.Command == string(model.CommandExtend) {
			d, err := time.ParseDuration(ttl)
			if err != nil {
				return model.Invalid("ttl", "%s is not a duration such as 30m or 2h", model.Quote(ttl))
			}
			order.Args, _ = json.Marshal(map[string]string{"ttl": d.String()}) // a text always encodes
		}
		var command *wire.Command
		if kind == model.KindLease {
			sent, err := sendTo(r.Context(), id, order, v.api.SendLease, v.api.ReleaseLease)
			if err != nil {
				return err
			}
			command = sent.Command
		} else {
			sent, err := sendTo(r.Context(), id, order, v.api.SendResource, v.api.ReleaseResource)
			if err != nil {
				return err
			}
			command = sent.Command
		}
		to := url.Values{"namespace": {v.namespace}}
		if command != nil {
			to.Set("command", command.ID)
		}
		http.Redirect(w, r, "/console/"+string(kind)+"s/"+url.PathEscape(id)+"?"+to.Encode(), http.StatusSeeOther)
		return nil
	}
}

// sendTo sends a command, and a release as such: released twice, an object is no error.
func sendTo[T any](
	ctx context.Context, id string, order wire.NewCommand,
	send func(context.Context, string, wire.NewCommand, ...client.CallOption) (T, error),
	release func(ctx context.Context, id, reason string, opts ...client.CallOption) (T, error),
) (T, error) {
	if order.Command == string(model.CommandRelease) {
		return release(ctx, id, order.Reason)
	}
	return send(ctx, id, order)
}

// releaseMany releases the selected leases and shows what came of each.
func (c *Console) releaseMany(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := r.ParseForm(); err != nil {
		return model.Invalid("ids", "the form cannot be read")
	}
	ids := r.PostForm["id"]
	if len(ids) == 0 {
		return model.Invalid("ids", "select at least one lease first")
	}
	var released []wire.LeaseRelease
	for one, err := range v.api.ReleaseAll(r.Context(), wire.ReleaseLeases{IDs: ids, Reason: r.PostFormValue("reason")}) {
		if err != nil {
			return err
		}
		released = append(released, one)
	}
	r.Form = url.Values{"namespace": {v.namespace}}
	l, err := c.leaseList(r, v)
	if err != nil {
		return err
	}
	l.Released = released
	return c.show(w, r, v, "leases", &view{Title: "Leases", Tab: "leases", Data: l})
}

// decide approves or declines an owner.
func (c *Console) decide(w http.ResponseWriter, r *http.Request, v *visit) error {
	status := model.AuthorizationStatus(r.PostFormValue("status"))
	if _, err := v.api.Authorize(r.Context(), r.PostFormValue("blueprint"), r.PostFormValue("owner"), status, r.PostFormValue("reason")); err != nil {
		return err
	}
	http.Redirect(w, r, "/console/authorizations?namespace="+escape(v.namespace), http.StatusSeeOther) //nolint:gosec // the path is ours, the rest is escaped
	return nil
}

// enable enables or disables a blueprint. It declares it again as it was read, if nobody else has declared it since.
func (c *Console) enable(w http.ResponseWriter, r *http.Request, v *visit) error {
	name, enabled := r.PathValue("name"), r.PostFormValue("enabled") == "true"
	b, err := v.api.GetBlueprint(r.Context(), name)
	if err != nil {
		return err
	}
	if _, _, err = v.api.PutBlueprint(r.Context(), name, wire.NewBlueprint{
		Kind: b.Kind, Type: b.Type, Limit: b.Limit, MinIdle: b.MinIdle, MaxIdleAge: b.MaxIdleAge, Quota: b.Quota, Authorize: b.Authorize, On: b.On,
		Enabled: &enabled, Config: b.Config,
	}, client.If(model.Condition{Rev: &b.Rev})); err != nil {
		return err
	}
	http.Redirect(w, r, "/console/blueprints?namespace="+escape(v.namespace), http.StatusSeeOther) //nolint:gosec // the path is ours, the rest is escaped
	return nil
}
