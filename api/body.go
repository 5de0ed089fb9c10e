package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"drydock/model"
)

// readBody reads the whole body of a request and checks that it claims to be JSON, or nothing in particular.
func readBody(c echo.Context) ([]byte, error) {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return nil, readError(err)
	}
	_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Time{})
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	return body, checkContentType(c.Request().Header)
}

func readError(err error) error {
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return e // the body limit's
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &model.Error{Kind: errorTimeout, Message: "the body did not come in time", Cause: err}
	}
	return &model.Error{Kind: model.ErrorMalformed, Message: "the body ended before it was complete", Cause: err}
}

// checkContentType accepts JSON, no content type, and that of a form: curl -d sends it unless told otherwise, and what people
// type into curl is JSON.
func checkContentType(h http.Header) error {
	if enc := h.Get(echo.HeaderContentEncoding); enc != "" && !strings.EqualFold(enc, "identity") {
		return model.Errorf(errorMediaType, "the body must not be encoded (Content-Encoding is %s)", model.Quote(enc))
	}
	raw := h.Get(echo.HeaderContentType)
	if raw == "" {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(raw)
	if err == nil && (mediaType == echo.MIMEApplicationJSON || mediaType == echo.MIMEApplicationForm ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")) {
		return nil
	}
	return model.Errorf(errorMediaType, "the body must be application/json, not %s", model.Quote(raw))
}

// encode is the JSON of an answer: without escapes for HTML, and with a newline at its end for people at a terminal.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// respond writes an answer.
func respond(c echo.Context, status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	return c.JSONBlob(status, body)
}
