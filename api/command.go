package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// release sends release to an object of a kind: POST …/{id}/release. Unlike other commands it succeeds on an object that is
// released already, since that is what the caller wants.
func (s *Server) release(kind model.Kind) echo.HandlerFunc {
	return s.sends(kind, func(body []byte) (wire.NewCommand, error) {
		var asked wire.Release
		if body != nil {
			if err := decode(body, &asked); err != nil {
				return wire.NewCommand{}, err
			}
		}
		return wire.NewCommand{Command: string(model.CommandRelease), Reason: asked.Reason}, nil
	})
}

// send sends any command to an object of a kind: POST …/{id}/commands.
func (s *Server) send(kind model.Kind) echo.HandlerFunc {
	return s.sends(kind, func(body []byte) (asked wire.NewCommand, err error) {
		return asked, decode(body, &asked)
	})
}

// sends is the part that release and send have in common; parse reads the body.
func (s *Server) sends(kind model.Kind, parse func(body []byte) (wire.NewCommand, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		q, err := readQuery(c)
		if err != nil {
			return err
		}
		ref, err := pathRef(c, q.namespace, kind)
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
		asked, err := parse(body)
		if err != nil {
			return err
		}
		cmd := model.Command{
			ID:     model.NewID(),
			Target: ref,
			Name:   model.CommandName(asked.Command),
			Args:   asked.Arguments(),
			Author: by,
			Origin: origin(c),
			Reason: asked.Reason,
			SentAt: s.cfg.Now(),
		}
		if err := s.checkCommand(cmd); err != nil {
			if before, e := s.accepted(ctx, q.namespace, idem); e != nil {
				return e
			} else if !before {
				return err
			}
		}

		sent, err := s.cfg.Store.Send(ctx, cmd, idem)
		if err != nil {
			return err
		}
		s.wake(c, sent.Wake)
		markReplay(c, sent.Repeat)
		return respond(c, statusFor(sent), wire.FromSent(sent))
	}
}

// statusFor is the status of an answer to a command.
func statusFor(sent model.Sent) int {
	if sent.Command == nil {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// checkCommand checks a command against the clock too: an end that has passed is a mistake, and release is the command for it.
func (s *Server) checkCommand(cmd model.Command) error {
	if err := model.CheckCommand(cmd.Target.Kind, cmd.Name, cmd.Args, cmd.Reason); err != nil {
		return err
	}
	if cmd.Name != model.CommandExtend {
		return nil
	}
	args, err := model.ParseExtendArgs(cmd.Args)
	if err != nil || args.Until.IsZero() {
		return err
	}
	return model.CheckUntil("args.until", args.Until, s.cfg.Now())
}

// listCommands lists the commands of an object, oldest first: GET …/{id}/commands.
func (s *Server) listCommands(kind model.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		ref, limit, after, err := readListOf(c, kind)
		if err != nil {
			return err
		}
		page, err := s.cfg.Store.Commands(c.Request().Context(), ref, limit, after)
		if err != nil {
			return err
		}
		return respond(c, http.StatusOK, wire.FromPage(page, wire.FromCommand))
	}
}

// listLog lists what happened to an object, oldest first: GET …/{id}/logs.
func (s *Server) listLog(kind model.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		ref, limit, after, err := readListOf(c, kind)
		if err != nil {
			return err
		}
		page, err := s.cfg.Store.Log(c.Request().Context(), ref, limit, after)
		if err != nil {
			return err
		}
		return respond(c, http.StatusOK, wire.FromPage(page, wire.FromLogEntry))
	}
}

// listSlots lists the slot locks that an object holds, all on one page: GET …/{id}/slots.
func (s *Server) listSlots(kind model.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		ref, _, _, err := readListOf(c, kind)
		if err != nil {
			return err
		}
		slots, err := s.cfg.Store.Slots(c.Request().Context(), ref)
		if err != nil {
			return err
		}
		return respond(c, http.StatusOK, wire.FromPage(model.Page[model.Slot]{Items: slots}, wire.FromSlot))
	}
}

// readListOf reads the request for a list that belongs to one object.
func readListOf(c echo.Context, kind model.Kind) (ref model.Ref, limit int, after string, err error) {
	q, err := readQuery(c, "limit", "after")
	if err != nil {
		return ref, 0, "", err
	}
	if ref, err = pathRef(c, q.namespace, kind); err != nil {
		return ref, 0, "", err
	}
	limit, after, err = q.page()
	return ref, limit, after, err
}
