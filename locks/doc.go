// Package locks gives one worker at a time the right to update an object: the object lock, a Redlock made with redsync.
//
// # What the lock is for
//
// The lock is a lease that can be held twice: a process that is paused between its last look at the clock and its next write, a node
// that loses its memory, a clock that jumps. Therefore stored state never depends on it. The store refuses every write that does not
// show the writer of the latest claim, so the data stay right when the lock lies; the lock keeps two workers from doing the same work, and
// from running the same hook, at once.
//
// On the data Redis itself (one node) the lock saves double work, and nothing more is bought: when that Redis restarts or fails over, its
// locks may be gone with the rest of what it had not saved, two workers may update one object, and one of them finds its writes refused.
// Its hook may have run all the same. That is the default, because it needs no other server and costs two round trips.
//
// On three or five independent masters (--lock-redis) the lock also survives a restart or failover of the data Redis, and the loss of
// any one of three or two of five, for the sake of outside effects: fewer hooks run twice. What it does not buy is certainty. A node that
// restarts empty inside a TTL can give a lock away again, so lock nodes either sync each write (appendfsync always) or stay
// down for a TTL after a crash; a replica that takes over is as good as a node that restarted empty. Nor does any number of nodes stop a
// paused process from acting after its time. A hook's target that must not see two actors compares the fence. Nodes that share a
// machine or are replicas of each other are one node that is counted three times.
//
// # Trusted time
//
// A lock may be relied upon from just *before* the call that took or extended it, for the TTL less a margin. Counting from the reply would
// add the time that the reply was on its way. Both clocks are asked, because either can mislead: the monotonic one stands still while a
// virtual machine is suspended, the wall clock can be set back. [Lock.Trusted] answers for now; [Lock.Context] ends by itself before the
// key can expire.
//
// # Extension and loss
//
// A held lock extends itself at a third of its TTL, the first time only if it is held that long: most updates last two milliseconds
// and pay for one timer. An attempt that fails is repeated while trusted time remains. The lock is lost, for good, when a node majority
// says that the key is not ours, or when trusted time runs out; it is never quietly taken again (redsync's WithSetNXOnExtend would, which
// hides that somebody else held it in between).
//
// # Failures
//
// [ErrBusy] means that somebody holds the lock, and is no failure: come back later. [ErrUnavailable] means that too few nodes
// answered. Each call to a node has a time limit, so every method returns within a few of them, whatever the nodes do. A lock call that was cut
// off may leave its key behind for a TTL: the object is then busy for that long, never held twice.
package locks
