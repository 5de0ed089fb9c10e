// Package command runs the programs of blueprints: health checks, hooks, git.
//
// What every run has in common: arguments are a list and no shell sees them unless the operator names one; the
// environment is what the caller lists and nothing of the worker's own; the program is the leader of a process group of
// its own, and when the context ends the whole group goes, first asked and half a second later killed; output is
// bounded, however much is written; and a process that outlives its parent with the output still open cannot make a run
// hang.
//
// A process that leaves the group on purpose (setsid) escapes. That is how a hook leaves a daemon behind.
package command
