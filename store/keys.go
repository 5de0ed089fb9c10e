package store

import (
	"strings"

	"drydock/model"
)

// Keys of namespace ns start with "drydock:{ns}:", so that all of them share one hash tag, one Cluster slot, and one
// script can change any of them together. Names are checked (model.CheckName) before they come here: none holds a brace.
//
//	lease:<id>, resource:<id>          hash    the object
//	<object>:commands                  list    ids of waiting commands, oldest first
//	<object>:records                   hash    <cid> → command as sent, <cid>:outcome → how it was consumed
//	<object>:history                   list    ids of consumed commands, oldest first
//	<object>:log                       stream  steps of the object's life
//	<object>:data                      hash    the notes of holders and blueprints: value and rev
//	resource:<id>:leases               zset    leases that have a place on it
//	leases, resources                  zset    all ids (score 0: sorted by id, which is by creation)
//	leases:<status>, resources:<status>, leases:by-{type,owner,resource}:<x>, resources:by-{type,blueprint}:<x>   zset   indexes
//	slot:<key>                         string  the object that holds the slot lock
//	freed                              string  how often a slot lock was freed
//	free:<type>                        zset    resources with room, least loaded first, then longest idle
//	waiting:<type>                     zset    waiting leases by order
//	waiting:<type>:shapes              zset    requirements by the order of their first lease
//	waiting:<type>:shape:<shape>       zset    waiting leases that ask for the same and would take anything now
//	wake                               zset    objects that are owed an update, by when
//	collectable                        zset    destroyed objects, by when
//	blueprints, blueprints:rev(s)      hash, counter, hash   declarations, their count, the revision of each
//	blueprint:<name>                   hash    what its own updates keep for themselves
//	blueprint:<name>:log               stream  what they did
//	blueprint:<name>:resources         zset    its resources that are not destroyed
//	blueprint:<name>:idle              set     those that are ready and have no lease
//	blueprint:<name>:making            set     those that are being made to be kept idle
//	blueprint:<name>:held:<owner>      set     leases of an owner on them, or for which one is being made: what a quota counts
//	blueprint:<name>:gate:<owner>      zset    leases that it does not admit because of their owner, by order
//	blueprint:<name>:gates             zset    owners with such leases
//	blueprint:<name>:authorizations    hash    what is on record about each owner
//	authorizations                     zset    "<blueprint> <owner>" of all of them
//	idem:<key>                         hash    requests with an idempotency key, for a day
//	done:<token>                       string  calls done, for a minute
//	events                             stream  what happened to which object
//	usage                              stream  how many leases were in use and how many waited, every so often
//	subscriptions                      zset    names of subscriptions
//	subscription:<name>                hash    where events are sent to, and how far that has come
//	subscription:<name>:dead           stream  events that were given up
//
// drydock:namespaces (set) lists the namespaces; it is the one key outside of them.
const namespacesKey = "drydock:namespaces"

func prefix(ns string) string { return "drydock:{" + ns + "}:" }

func objectKey(ref model.Ref) string {
	return prefix(ref.Namespace) + string(ref.Kind) + ":" + ref.ID
}

func commandsKey(ref model.Ref) string { return objectKey(ref) + ":commands" }
func recordsKey(ref model.Ref) string  { return objectKey(ref) + ":records" }
func historyKey(ref model.Ref) string  { return objectKey(ref) + ":history" }
func logKey(ref model.Ref) string      { return objectKey(ref) + ":log" }
func dataKey(ref model.Ref) string     { return objectKey(ref) + ":data" }

func resourceLeasesKey(ns, id string) string { return prefix(ns) + "resource:" + id + ":leases" }

func blueprintKey(ns, name, what string) string { return prefix(ns) + "blueprint:" + name + ":" + what }

func pluralKey(ns string, k model.Kind) string { return prefix(ns) + string(k) + "s" }

func statusKey(ns string, k model.Kind, status string) string {
	return pluralKey(ns, k) + ":" + status
}

func byKey(ns string, k model.Kind, what, value string) string {
	return pluralKey(ns, k) + ":by-" + what + ":" + value
}

func slotKey(ns, key string) string         { return prefix(ns) + "slot:" + key }
func freeKey(ns, typ string) string         { return prefix(ns) + "free:" + typ }
func waitingKey(ns, typ string) string      { return prefix(ns) + "waiting:" + typ }
func shapesKey(ns, typ string) string       { return waitingKey(ns, typ) + ":shapes" }
func shapeKey(ns, typ, shape string) string { return waitingKey(ns, typ) + ":shape:" + shape }
func wakeKey(ns string) string              { return prefix(ns) + "wake" }
func collectableKey(ns string) string       { return prefix(ns) + "collectable" }
func usageKey(ns string) string             { return prefix(ns) + "usage" }
func blueprintsKey(ns string) string        { return prefix(ns) + "blueprints" }
func blueprintsRevKey(ns string) string     { return prefix(ns) + "blueprints:rev" }
func authorizationsKey(ns string) string    { return prefix(ns) + "authorizations" }
func idemKey(ns, key string) string         { return prefix(ns) + "idem:" + key }
func eventsKey(ns string) string            { return prefix(ns) + "events" }

// LockKey names the object lock of an object. On the data Redis it lives beside the object.
func LockKey(ref model.Ref) string { return prefix(ref.Namespace) + lockPart + ref.Member() }

const lockPart = "lock:"

// ParseLockKey is the inverse of [LockKey].
func ParseLockKey(key string) (model.Ref, error) {
	rest, ok := strings.CutPrefix(key, "drydock:{")
	ns, member, ok2 := strings.Cut(rest, "}:"+lockPart)
	if !ok || !ok2 {
		return model.Ref{}, model.Errorf(model.ErrorInternal, "%q is no key of an object lock", key)
	}
	return model.ParseMember(ns, member)
}
