// Package git is the blueprint kind of working copies: folders with a clone of one repository, each leased by one at a
// time and kept for the next.
//
// Making a copy usable and making it ready for a lease are one piece of work, done from the start each time, so that a
// second attempt after a crash, and a copy that somebody has damaged or deleted, need nothing special: lay out the
// repository, fetch, empty the folder, check out.
//
// The last holder could write to all of the copy, .git included, and must not reach the worker or the next holder through
// it. So nothing in .git is believed but the objects and the refs that a fetch overwrites anyway: config, hooks,
// alternates and the rest are removed before git is run, and the files are removed rather than cleaned, since
// `git clean` leaves nested repositories' .git folders and submodules behind.
//
// A copy is a folder on the machine of the worker that makes it. With several worker machines, the root must be a file
// system that they share, at one path.
//
// Or the copy stands on a leased host. Then host.sh does there, in one ssh session, what copy.go does here, and host.go sends it. It is
// one script, and not one ssh per command, so that the lock on the copy is held from the first step to the last and everything ends with
// the connection.
package git
