// Package bench measures Drydock beside what it stands on: Redis, raw asynq, and the design that one would write first. `drydock bench`
// runs it.
//
// Each rung of the ladder does the same number of operations with the same Redis, the same number of workers and the same task
// options, in processes of their own, so that the CPU of each can be told apart. After each rung its effects are checked; a rung that did
// not do its work is an error, not a number. Figures of one run stand side by side and mean something as ratios; figures of two
// machines do not.
package bench
