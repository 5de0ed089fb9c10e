package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/auth"
	"drydock/model"
)

// Batch is the part of a [Store] that does several things at once.
type Batch interface {
	// SendAll is Send for several commands to one namespace, in one round trip, with a result for each. Commands with the same ids,
	// sent again, change nothing.
	SendAll(ctx context.Context, cmds []model.Command) ([]model.SendResult, error)
	// Plan keeps what the request with a key is about to do, and returns the plan and the answer of the first one.
	Plan(ctx context.Context, namespace string, idem model.Idempotency, plan []byte) (kept []byte, answer *model.Answer, err error)
	// SaveAnswer records the first answer to the request that stored key, and returns the answer to give: a repetition may have been
	// answered first.
	SaveAnswer(ctx context.Context, namespace, key string, a model.Answer) (model.Answer, error)
	// LeasesByID passes over leases that do not exist.
	LeasesByID(ctx context.Context, namespace string, ids []string) ([]*model.Lease, error)
}

// releasesPath is written as Echo wants it: a colon begins a parameter unless a backslash stands before it.
const releasesPath = `/leases\:release`

// routeName is a route's path without Echo's backslashes, for logs and metrics.
func routeName(path string) string { return strings.ReplaceAll(path, `\`, "") }

// releasePlan is what a bulk release is about to do. With an Idempotency-Key it is stored before the first command is sent, so that a
// repetition sends the same commands to the same leases: those that the filter selects by then are none of its business.
type releasePlan struct {
	// Leases and Commands are ids, in the same order.
	Leases   []string `json:"leases"`
	Commands []string `json:"commands"`
	Next     string   `json:"next,omitempty"`
}

// releaseLeases sends release to many leases: POST /v1/leases:release. What comes of each is answered for each; what concerns all of them,
// such as an outage, is the answer to the whole request.
func (s *Server) releaseLeases(c echo.Context) error {
	ctx := c.Request().Context()
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	idem, err := idempotency(c, q.namespace, body)
	if err != nil {
		return err
	}
	by, err := author(c)
	if err != nil {
		return err
	}
	var asked wire.ReleaseLeases
	if err := decode(body, &asked); err != nil {
		return err
	}
	if err := asked.Check(); err != nil {
		return err
	}
	plan, err := s.planRelease(ctx, q.namespace, asked)
	if err != nil {
		return err
	}
	repeat := false
	if idem.Key != "" {
		var answer *model.Answer
		if plan, answer, repeat, err = s.firstPlan(ctx, q.namespace, idem, plan); err != nil {
			return err
		}
		if answer != nil {
			return replay(c, answer)
		}
	}
	items, wake, err := s.sendReleases(ctx, q.namespace, plan, model.Command{
		Name: model.CommandRelease, Author: by, Origin: origin(c), Reason: asked.Reason, SentAt: s.cfg.Now(),
	}, identity(c))
	if err != nil {
		return err
	}
	s.wake(c, wake)
	page := wire.Page[wire.LeaseRelease]{Items: items, Next: wire.Text(plan.Next)}
	return s.respondOnce(c, q.namespace, idem, repeat, http.StatusAccepted, page)
}

// planRelease finds the leases that a bulk release is about, each once.
func (s *Server) planRelease(ctx context.Context, namespace string, asked wire.ReleaseLeases) (plan releasePlan, err error) {
	plan.Leases = asked.IDs
	if asked.IDs == nil {
		if plan.Leases, plan.Next, err = s.releasable(ctx, namespace, asked); err != nil {
			return plan, err
		}
	}
	seen := map[string]bool{}
	plan.Leases = slices.DeleteFunc(slices.Clone(plan.Leases), func(id string) bool {
		twice := seen[id]
		seen[id] = true
		return twice
	})
	for range plan.Leases {
		plan.Commands = append(plan.Commands, model.NewID())
	}
	return plan, nil
}

// maxReleasePages bounds how many pages a bulk release reads when its filter is picky.
const maxReleasePages = 10

// releasable lists leases that a filter selects, state by state. next is where to go on: a state and the cursor in its list.
func (s *Server) releasable(ctx context.Context, namespace string, asked wire.ReleaseLeases) (ids []string, next string, err error) {
	filters := asked.Filters()
	if asked.After != "" {
		state, after, _ := strings.Cut(asked.After, ":")
		i := slices.IndexFunc(filters, func(f model.LeaseFilter) bool { return string(f.Status) == state })
		if i < 0 || len(after) > maxCursor || !printable(after) {
			return nil, "", model.Invalid("after", "must be the \"next\" of another answer to the same filter")
		}
		filters = filters[i:]
		filters[0].After = after
	}
	pages := 0
	for _, f := range filters {
		for more := true; more; pages++ {
			f.Limit = min(wire.MaxReleases-len(ids), model.MaxPageLimit)
			if f.Limit == 0 || pages == maxReleasePages {
				return ids, string(f.Status) + ":" + f.After, nil
			}
			page, err := s.cfg.Store.Leases(ctx, namespace, f)
			if err != nil {
				return nil, "", err
			}
			for _, lease := range page.Items {
				ids = append(ids, lease.ID)
			}
			f.After, more = page.Next, page.Next != ""
		}
	}
	return ids, "", nil
}

// firstPlan stores the plan of a request, or returns that of the first request with its key.
func (s *Server) firstPlan(
	ctx context.Context, namespace string, idem model.Idempotency, plan releasePlan,
) (first releasePlan, answer *model.Answer, repeat bool, err error) {
	text, err := json.Marshal(plan)
	if err != nil {
		return plan, nil, false, err
	}
	kept, answer, err := s.cfg.Store.Plan(ctx, namespace, idem, text)
	if err != nil || answer != nil || string(kept) == string(text) {
		return plan, answer, false, err
	}
	err = json.Unmarshal(kept, &first)
	return first, nil, true, err
}

// sendReleases sends the commands of a plan, each made after the pattern, and says what came of each.
func (s *Server) sendReleases(
	ctx context.Context, namespace string, plan releasePlan, pattern model.Command, who *auth.Identity,
) (items []wire.LeaseRelease, wake []model.Ref, err error) {
	items = make([]wire.LeaseRelease, len(plan.Leases))
	refused, err := s.notTheirs(ctx, namespace, plan.Leases, who)
	if err != nil {
		return nil, nil, err
	}
	var cmds []model.Command
	var places []int
	for i, id := range plan.Leases {
		items[i].ID = id
		switch err := refused[id]; {
		case err != nil:
			refuse(&items[i], err)
		case !model.ValidID(id):
			refuse(&items[i], model.ErrLeaseNotFound)
		default:
			cmd := pattern
			cmd.ID, cmd.Target = plan.Commands[i], model.LeaseRef(namespace, id)
			cmds, places = append(cmds, cmd), append(places, i)
		}
	}
	results, err := s.cfg.Store.SendAll(ctx, cmds)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range results {
		item := &items[places[i]]
		if r.Err != nil {
			if class := problems[model.KindOf(r.Err)]; class.status >= http.StatusInternalServerError || class.status == 0 {
				return nil, nil, r.Err
			}
			refuse(item, r.Err)
			continue
		}
		item.Status = statusFor(r.Sent)
		if r.Command != nil {
			command := wire.FromCommand(r.Command)
			item.Command = &command
		}
		wake = append(wake, r.Wake...)
	}
	return items, wake, nil
}

// refuse says that a lease was not released.
func refuse(item *wire.LeaseRelease, err error) {
	kind, detail, _ := explain(err)
	item.Status, item.Error = problems[kind].status, &wire.ItemError{Code: string(kind), Detail: detail}
}

// notTheirs returns the leases that the caller may not release, and why: all but their own, for a holder.
func (s *Server) notTheirs(ctx context.Context, namespace string, ids []string, who *auth.Identity) (map[string]error, error) {
	if who == nil || who.RoleIn(namespace).Includes(auth.RoleOperator) {
		return nil, nil
	}
	valid := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !model.ValidID(id) })
	leases, err := s.cfg.Store.LeasesByID(ctx, namespace, valid)
	if err != nil {
		return nil, err
	}
	refused := map[string]error{}
	for _, lease := range leases {
		if lease.Owner != who.Name {
			refused[lease.ID] = notTheOwner(lease, who)
		}
	}
	return refused, nil
}
