// Package model holds Drydock's words: leases, resources, blueprints, commands, their states and the rules that
// need no I/O. Every other package speaks these types; this one imports none of ours.
//
// Who may write what: a saved lease or resource is written only by its own update (package handlers) while it
// shows the writer of its claim. Everybody else sends a [Command]. The tables that say which state may follow which,
// and which command a state takes, are in lease_state.go and resource_state.go; the scripts of package store are
// generated from the same tables, so the guard inside the write and the one in Go cannot differ.
//
// docs/state_machine.md draws the tables; a test fails when drawing and tables differ.
package model
