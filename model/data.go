package model

import "encoding/json"

// Data are small notes that holders and blueprints keep on an object. They have a storage of their own: no update reads or writes
// them, and writing them wakes nobody.
type Data struct {
	// Value is any JSON value; nil = there is none.
	Value json.RawMessage
	// Rev counts the writes, removals included; 0 = there has been none.
	Rev int64
}

// CheckData checks a value before it is stored; the error is [ErrorInvalid] and names the field.
func CheckData(field string, value json.RawMessage) error {
	if len(value) > MaxDataLength {
		return Invalid(field, "must not be longer than %d bytes", MaxDataLength)
	}
	return nil
}
