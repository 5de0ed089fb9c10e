package api

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

const maxIdempotencyKey = 200

// idempotency reads the Idempotency-Key of a request; without one it is the zero value.
func idempotency(c echo.Context, namespace string, body []byte) (model.Idempotency, error) {
	keys := c.Request().Header.Values(wire.HeaderIdempotencyKey)
	if len(keys) == 0 {
		return model.Idempotency{}, nil
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxIdempotencyKey || !printable(keys[0]) {
		return model.Idempotency{}, model.Invalid(wire.HeaderIdempotencyKey,
			"must be one key of 1 to %d printable ASCII characters", maxIdempotencyKey)
	}
	key := keys[0]
	if who := identity(c); who != nil {
		// A key is its sender's alone: nobody gets another's answer, and nobody can spend a key that another is going to use.
		key = fingerprint(string(who.Kind), who.Name, key)
	}
	return model.Idempotency{
		Key:         key,
		Fingerprint: fingerprint(c.Request().Method, c.Request().URL.Path, namespace, string(body)),
	}, nil
}

// fingerprint stands for a whole request. Each part is preceded by its length, so that no two requests run together into one.
func fingerprint(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		_, _ = h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// accepted reports whether this request was accepted before, so that a rule that it breaks by now must not refuse it. The store
// then compares the fingerprints and finds the first answer.
func (s *Server) accepted(ctx context.Context, namespace string, idem model.Idempotency) (bool, error) {
	knower, ok := s.cfg.Store.(KeyKnower)
	if !ok || idem.Key == "" {
		return false, nil
	}
	return knower.KnowsKey(ctx, namespace, idem.Key)
}

// markReplay says in the header that this is the answer to the first request with the key once more. The store keeps what the first was
// told, so that the answer is the same word for word.
func markReplay(c echo.Context, repeat bool) {
	if repeat {
		c.Response().Header().Set(wire.HeaderIdempotencyReplayed, "true")
	}
}

// replay writes a recorded answer.
func replay(c echo.Context, a *model.Answer) error {
	markReplay(c, true)
	return c.JSONBlob(a.Status, a.Body)
}

// respondOnce writes the answer to a request that took several writes, and first records it under its key. A repetition gets here when
// no answer was on record yet: whichever of the two records its answer first, both give that one.
func (s *Server) respondOnce(c echo.Context, namespace string, idem model.Idempotency, repeat bool, status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	answer := model.Answer{Status: status, Body: body}
	if idem.Key != "" {
		answer = s.saveAnswer(c, namespace, idem.Key, answer)
	}
	markReplay(c, repeat)
	return c.JSONBlob(answer.Status, answer.Body)
}

// saveAnswer records an answer and returns the one to give. When that fails, a repetition is answered from what is stored then: no
// harm that is worth failing a request that has been stored.
func (s *Server) saveAnswer(c echo.Context, namespace, key string, a model.Answer) model.Answer {
	ctx, cancel := outliving(c.Request().Context())
	defer cancel()
	kept, err := s.cfg.Store.SaveAnswer(ctx, namespace, key, a)
	if err != nil {
		s.cfg.Log.Warn("could not record the answer for an idempotency key", slog.String("request_id", requestID(c)), slog.Any("error", err))
		return a
	}
	return kept
}

// wake enqueues update tasks. When that fails, the sweeper finds the objects.
func (s *Server) wake(c echo.Context, refs []model.Ref) {
	if len(refs) == 0 {
		return
	}
	ctx, cancel := outliving(c.Request().Context())
	defer cancel()
	if err := s.cfg.Tasks.Enqueue(ctx, refs...); err != nil {
		s.cfg.Log.Warn("could not enqueue update tasks; the sweeper will",
			slog.String("request_id", requestID(c)), slog.Int("objects", len(refs)), slog.Any("error", err))
	}
}

// outliving returns a context that goes on when the client hangs up, for a short while.
func outliving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), backgroundTimeout)
}
