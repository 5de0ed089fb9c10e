package client

import (
	"context"
	"encoding/json"
	"net/http"

	"drydock/api/wire"
	"drydock/model"
)

// GetData reads the notes on a lease or a resource; their Data is nil when there are none.
func (c *Client) GetData(ctx context.Context, kind model.Kind, id string) (data wire.Data, err error) {
	err = c.get(ctx, nil, &data, of(kind, id, "data")...)
	return withoutNull(data), err
}

// SetData writes the notes on a lease or a resource, or removes them when value is nil. The zero condition holds always; one that
// does not hold is [ErrPrecondition], and nothing was written: read again, and decide anew. Notes on what is destroyed stay as they
// are: [ErrConflict].
//
// A write whose reply was lost is not sent again. Its outcome is unknown; with a condition on Rev it is safe to repeat, and
// [ErrPrecondition] then may be due to the first one.
func (c *Client) SetData(
	ctx context.Context, kind model.Kind, id string, value json.RawMessage, cond model.Condition,
) (data wire.Data, err error) {
	req := call{method: http.MethodPut, path: of(kind, id, "data"), body: wire.NewData{Data: value}}
	If(cond)(&req)
	_, err = c.do(ctx, req, &data)
	return withoutNull(data), err
}

// withoutNull makes "no data" nil, however it was written.
func withoutNull(d wire.Data) wire.Data {
	if string(d.Data) == "null" {
		d.Data = nil
	}
	return d
}
