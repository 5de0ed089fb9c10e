package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// createLease queues a lease: POST /v1/leases.
func (s *Server) createLease(c echo.Context) error {
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
	var asked wire.NewLease
	if err := decode(body, &asked); err != nil {
		return err
	}
	if asked.Owner, err = owner(c, q.namespace, asked.Owner); err != nil {
		return err
	}
	id := model.NewID()
	n, err := asked.Model(s.cfg.Now())
	if err == nil {
		err = s.checkSatisfiable(ctx, q.namespace, id, n)
	}
	if err != nil {
		if before, e := s.accepted(ctx, q.namespace, idem); e != nil {
			return e
		} else if !before {
			return err
		}
	}

	created, err := s.cfg.Store.CreateLease(ctx, q.namespace, id, n, idem)
	if err != nil {
		return err
	}
	c.Set(objectKey, created.Lease.Ref)
	s.wake(c, created.Wake)
	c.Response().Header().Set(echo.HeaderLocation, "/v1/leases/"+created.Lease.ID+q.suffix())
	markReplay(c, created.Repeat)
	return respond(c, http.StatusAccepted, wire.FromLease(created.Lease))
}

// checkSatisfiable refuses a lease that would wait for ever: no blueprint could serve it, even if all it has were free and enabled.
func (s *Server) checkSatisfiable(ctx context.Context, namespace, id string, n model.NewLease) error {
	all, err := s.cfg.Store.Blueprints(ctx, namespace)
	if err != nil {
		return err
	}
	var types, reasons []string
	for _, bp := range all {
		if bp.Type != n.Type {
			types = append(types, bp.Type)
			continue
		}
		if len(n.Blueprints) > 0 && !slices.Contains(n.Blueprints, bp.Name) {
			reasons = append(reasons, bp.Name+": not among the blueprints that the lease names")
			continue
		}
		req := model.Request{Lease: id, Type: n.Type, Owner: n.Owner, Attributes: n.Attributes, Blueprints: n.Blueprints}
		ok, reason := s.cfg.Kinds.CanServe(bp, req)
		if ok {
			return nil
		}
		reasons = append(reasons, bp.Name+": "+reason)
	}
	if len(reasons) > 0 {
		return model.Errorf(model.ErrorUnsatisfied, "no blueprint can ever serve this lease (%s)", some(reasons, "; "))
	}
	known := "there are none"
	if slices.Sort(types); len(types) > 0 {
		known = "known are " + some(slices.Compact(types), ", ")
	}
	return &model.Error{
		Kind:    model.ErrorUnsatisfied,
		Field:   "type",
		Message: fmt.Sprintf("no blueprint in namespace %s makes resources of type %s; %s", namespace, n.Type, known),
	}
}

// some joins the first few words for a message that stays readable.
func some(words []string, separator string) string {
	const most = 5
	if len(words) > most {
		return fmt.Sprintf("%s%sand %d more", strings.Join(words[:most], separator), separator, len(words)-most)
	}
	return strings.Join(words, separator)
}

// listLeases lists leases, newest first: GET /v1/leases.
func (s *Server) listLeases(c echo.Context) error {
	q, err := readQuery(c, "status", "type", "resource", "owner", "limit", "after")
	if err != nil {
		return err
	}
	f, err := leaseFilter(q)
	if err != nil {
		return err
	}
	page, err := s.cfg.Store.Leases(c.Request().Context(), q.namespace, f)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, wire.FromPage(page, wire.FromLease))
}

func leaseFilter(q query) (f model.LeaseFilter, err error) {
	if f.Status, err = state(q, "status", model.LeaseStates()); err != nil {
		return f, err
	}
	if f.Type, err = q.name("type"); err != nil {
		return f, err
	}
	if f.Resource, err = q.id("resource"); err != nil {
		return f, err
	}
	if f.Owner, err = q.text("owner", model.MaxOwnerLength); err != nil {
		return f, err
	}
	f.Limit, f.After, err = q.pageOfIDs()
	return f, err
}

// readLease reads a lease, or waits for it: GET /v1/leases/{id}.
func (s *Server) readLease(c echo.Context) error {
	return read(s, c, model.KindLease, model.LeaseStates(), leaseAges,
		func(ctx context.Context, ref model.Ref) (model.LeaseState, any, error) {
			lease, err := s.cfg.Store.Lease(ctx, ref.Namespace, ref.ID)
			if err != nil {
				return "", nil, err
			}
			return lease.Status, wire.FromLease(lease), nil
		})
}

// leaseAges orders the states by how far in its life a lease is. Released and broken are two ways to the same end.
var leaseAges = map[model.LeaseState]int{
	model.LeasePending:   0,
	model.LeaseAcquired:  1,
	model.LeaseActive:    2,
	model.LeaseReleased:  3,
	model.LeaseBroken:    3,
	model.LeaseDestroyed: 4,
}
