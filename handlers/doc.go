// Package handlers updates leases and resources: it holds the only writers of saved state.
//
// An update ([Updater.Update]) takes the object's lock, looks at the object, consumes the waiting commands and acts on
// the state, in the order expiry, commands, state action. What to do is decided by pure functions (decide.go, policy.go)
// and written in as few steps as the blueprint's hooks allow, each step all or nothing. The first of them takes the pen.
//
//	updater.go   one update from lock to unlock: the protocol
//	decide.go    which commands are applied, refused or superseded
//	lease.go     what an update does in each state of a lease
//	resource.go  the same for resources
//	policy.go    which place a waiting lease takes, or what is to be made for it
//	allocate.go  carries that out
//	hook.go      outside work: intent, run, result
//	catalog.go   opened blueprints
//	sweeper.go   tasks for what the wake index says is due; sweeper_cluster.go the same where a part of Redis may be away
//	janitor.go   deletes what was destroyed long ago
//	batch.go     the updates of the objects that tasks name
//	server.go    the asynq server around it
package handlers
