// Package blueprints turns a stored blueprint into behaviour: which resources it could make, which lease fits on which
// resource, and the outside work (hooks) of each step.
//
// A kind is a small package below this one. It answers two sorts of questions:
//
//   - Policy, the methods of [Blueprint]: pure, no I/O, fast, safe for concurrent use. The allocator calls them many
//     times per lease.
//   - Work, the functions in [Hooks]: anything that touches the world. A hook runs between two writes: the intent is
//     stored, the hook runs, the result is stored. It is called at least once per step, possibly again after a crash, and
//     gets the same [Call.Key] each time. A nil hook costs nothing: its step is folded into the write around it.
package blueprints
