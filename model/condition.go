package model

// Condition says what must hold of a thing that has a rev (data, a blueprint) for a write of it to happen. The zero value asks for
// nothing: the last writer wins.
type Condition struct {
	// Rev, if not nil, must be the rev that it has.
	Rev *int64
	// Some asks for it to be there, None for it not to be. At most one of the three is set.
	Some, None bool
}
