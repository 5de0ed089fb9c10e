// Package store is the domain in Redis: the keys, the Lua scripts, and one Go method per script. Only it and package
// locks send Redis commands.
//
// Redis holds the truth. Everything that must change together changes in one script, and every script makes all its
// checks before its first write, because Redis does not roll back. A script may run twice with the same arguments
// (go-redis sends a write again when its reply is lost), so the second run recognises its own writer, version, command id
// or token, changes nothing, and answers as the first did.
//
// Objects are written in three ways only:
//
//   - [Store.CreateLease] and [Store.CreateResource] make them, once;
//   - [Store.Send] puts a command on their queue, for anybody at any time;
//   - [Store.Begin] looks at one for an update and takes nothing. The first write of the update takes the pen, [Store.ApplyLease],
//     [Store.ApplyResource] and [Store.ApplyBlueprint] write with it, [Store.Finish] puts it down. A write shows the writer and the version
//     its run knows; when either has moved on, it is refused with [model.ErrStaleWriter] and has changed nothing.
//
// The notes on an object ([Store.SetData]) are no part of it: they have a key of their own, which no update writes.
//
// Without the pen, others may touch a few fields of an object, never its state: "woken" (the last word that it is owed an update, each unlike
// any other; "0" = an update has heard it), "busy" (how often in a row its lock was found busy), "releases" (how many waiting commands take the
// object back), "idle" (when the last lease left a resource).
//
// Every object that is owed an update is in the wake index, scored by when. Methods that wake objects return them; the
// caller enqueues their tasks. If it dies first, [Store.Due] finds them when the visibility has passed.
//
// What is left of a destroyed object stays until [Store.Collect] deletes it: its records, commands, log, notes and index entries.
//
// keys.go lists every key.
package store
