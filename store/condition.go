package store

import (
	"strconv"

	"drydock/model"
)

// encodeCondition writes a condition as the scripts read it (holds in lua/lib.lua).
func encodeCondition(cond model.Condition) string {
	switch {
	case cond.Rev != nil:
		return strconv.FormatInt(*cond.Rev, 10)
	case cond.Some:
		return "some"
	case cond.None:
		return "none"
	}
	return "any"
}
