// Package torture runs the real thing (API and worker processes, Redis servers, hooks) under load while faults are injected, writes down
// every call and every effect, and checks the history when the faults have stopped.
//
// A run is one seed. The schedule of its faults is a function of the seed, the chosen faults and the time it lasts, and of nothing else;
// what the load and the operating system do in between is not, so that the same seed gives the same faults and not the same history.
//
//	go test ./proof/torture -run Torture -seed 7 -for 30m -faults kill-worker,stop
//	make torture FOR=30m SEED=7
//
// [Check] is ordinary code with tests of its own, which feed it histories that are wrong in one way each. docs/correctness.md says what
// the histories show and what they cannot.
package torture
