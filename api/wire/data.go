package wire

import (
	"encoding/json"
	"strconv"

	"drydock/model"
)

// Data are the notes on a lease or a resource.
type Data struct {
	// Data is any JSON value; null = there is none.
	Data json.RawMessage `json:"data"`
	// Rev counts the writes, removals included; 0 = there has been none.
	Rev int64 `json:"rev"`
}

// FromData converts notes.
func FromData(d model.Data) Data { return Data{Data: orNil(d.Value), Rev: d.Rev} }

// ETag returns the ETag of data or a blueprint with this rev.
func ETag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }

// NewData is the body of PUT …/data. A value of null removes what is there.
type NewData struct {
	Data json.RawMessage `json:"data"`
}

// Value returns the value to store, nil to remove it; the error is [model.ErrorInvalid] and names the field. A body that says nothing
// must not remove anything.
func (d NewData) Value() (json.RawMessage, error) {
	if d.Data == nil {
		return nil, model.Invalid("data", "is required; null removes what is there")
	}
	value := orNil(d.Data)
	return value, model.CheckData("data", value)
}
