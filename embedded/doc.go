// Package embedded runs a private Redis for "drydock dev" and for tests, so that trying Drydock needs no setup.
//
// [StartServer] runs a redis-server (or valkey-server) child: the real thing, durable if asked, ready in about 10 ms. [StartMemory]
// runs a Redis look-alike inside the process for machines without one: good for a first look, lost when the process ends, and never
// what a test should trust.
//
// The server listens on 127.0.0.1 without a password: every process of this machine can use it. It has a process group of its own, so
// Ctrl-C in the terminal reaches the parent alone, which can drain before it calls [Server.Stop]. On Linux the kernel kills the child
// when the parent dies, even from SIGKILL; elsewhere a parent that is killed leaves the child running.
package embedded
