// Package hook is what the kinds exec and webhook have in common: resources that somebody else's program makes, and the
// messages that tell the program what to do and bring back what it found out.
//
// Each step is one exchange: a [Message] goes out, and an [Answer] comes back if the program has anything to say. The
// package turns a set of steps and a [Caller] into a blueprint; how the message travels is the kind's business.
package hook
