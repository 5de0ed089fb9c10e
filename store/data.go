package store

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Data reads the notes on an object. Errors: [model.ErrorNotFound], [model.ErrorUnavailable].
func (s *Store) Data(ctx context.Context, ref model.Ref) (model.Data, error) {
	pipe := s.rdb.Pipeline()
	exists := pipe.Exists(ctx, objectKey(ref))
	fields := readData(ctx, pipe, ref)
	if err := exec(ctx, "read data", pipe); err != nil {
		return model.Data{}, err
	}
	if exists.Val() == 0 {
		return model.Data{}, notFound(ref.Kind)
	}
	value, rev := decodeData(fields.Val())
	return model.Data{Value: value, Rev: rev}, nil
}

// SetData writes the notes on an object, or removes them when the value is nil, if the condition holds. The value has been checked
// ([model.CheckData]). Errors, after which nothing was written: [model.ErrorNotFound], [model.ErrorConflict] when the object is
// destroyed, [model.ErrorPrecondition] when the condition does not hold; and [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) SetData(ctx context.Context, ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error) {
	reply, err := s.write(ctx, "set data", setDataScript, []string{objectKey(ref)},
		ref.Member(), model.NewID(), string(value), encodeCondition(cond))
	if err != nil {
		return model.Data{}, err
	}
	rev := toInt(reply[1])
	switch toInt(reply[0]) {
	case -1:
		return model.Data{}, notFound(ref.Kind)
	case -2:
		return model.Data{}, model.Errorf(model.ErrorConflict, "the %s is destroyed; its data stay as they are", ref.Kind)
	case -3:
		return model.Data{}, conditionError(ref.Kind, cond, rev)
	}
	return model.Data{Value: value, Rev: rev}, nil
}

func conditionError(k model.Kind, cond model.Condition, rev int64) error {
	switch {
	case cond.Some:
		return model.Errorf(model.ErrorPrecondition, "the %s has no data; its rev is %d", k, rev)
	case cond.None:
		return model.Errorf(model.ErrorPrecondition, "the %s has data already; its rev is %d", k, rev)
	}
	return model.Errorf(model.ErrorPrecondition, "the data of the %s have rev %d, not %d", k, rev, *cond.Rev)
}

// readData queues the reading of an object's data.
func readData(ctx context.Context, pipe redis.Pipeliner, ref model.Ref) *redis.SliceCmd {
	return pipe.HMGet(ctx, dataKey(ref), "value", "rev")
}

// decodeData reads {value, rev} as they are stored; both are nil when nobody has ever written.
func decodeData(fields []any) (value json.RawMessage, rev int64) {
	if len(fields) < 2 {
		return nil, 0
	}
	if v := toString(fields[0]); v != "" {
		value = json.RawMessage(v)
	}
	return value, toInt(fields[1])
}
