/*
 * The protocol by which one object is written (README, "How it stays correct"): senders, workers that crash and pause, a lock that expires
 * under its holder, tasks that are lost, doubled or late, replies that are lost, and a failover of Redis that forgets the last writes.
 *
 * Each atomic block is one Lua script, and is named after it; the comments on the right are the script's own words. Time is left out: what
 * is in the wake index may become due at any moment, which is more than any clock allows. Commands are 1, 2, … in the order in which they
 * were sent; any of them may be the release. A run opens the object, which writes nothing; its first write takes the pen if the object is
 * still as it was read.
 *
 * Checked (make model): one writer at a time, who knows what it writes upon; nothing consumed twice, out of order, or popped without being
 * applied; no step applied twice; whatever owes an update is in the wake index, at every moment; when nothing moves any more, everything
 * accepted is consumed and the object destroyed, and whatever a word was about has been seen (Standstill); and, under weak fairness, that comes
 * to pass (ltl recovers). Each MUTATE_… takes away one thing that the protocol does; each makes a check fail. With NO_LOCK the object lock is switched off: safety does not rest on it.
 */

#ifndef SENDERS
#define SENDERS 2       /* each sends one command */
#endif
#ifndef NEIGHBOURS
#define NEIGHBOURS 0    /* each gives one word without a command */
#endif
#define WORKERS 2       /* to one, the other is 3 - me */
#ifndef CRASHES
#define CRASHES 1       /* faults are few, and then they stop */
#endif
#ifndef EXPIRIES
#define EXPIRIES 1
#endif
#ifndef LOSSES
#define LOSSES 1        /* all tasks at once */
#endif
#ifndef DOUBLES
#define DOUBLES 1
#endif
#ifndef RESENDS
#define RESENDS 1
#endif
#ifndef FAILOVERS
#define FAILOVERS 0
#endif

mtype = { live, released, destroyed };          /* states of the object */

/* ---- what Redis holds about the object ------------------------------------------------------------------------------------------- */
typedef Object {
  mtype status;
  byte  version;        /* counts to 3 and begins anew, which can only let more pass */
  byte  writer;         /* random in truth; here a number that nobody else knows */
#ifdef MUTATE_FENCE_ONLY
  byte  fence;
#endif
  byte  head, tail;     /* waiting are head+1 .. tail */
  byte  woken;          /* the last word that no run has heard, 0 = none. Each is another: random in truth, here its sender */
  byte  room;           /* what a word without a command was about: whoever hears the word sees it. 0 = nothing */
#if FAILOVERS > 0
  bit   made;           /* what the last step made of the object, which its version does not tell */
#endif
  bool  wake            /* it is in the wake index */
};
Object o;

/* ---- what is not in that Redis, or is allowed to vanish ---------------------------------------------------------------------------- */
byte tasks;             /* asynq: wake-ups under way */
byte lock;              /* 0 = free, else the worker */
bit  orphan;            /* its holder is dead */
byte crashes, expiries, losses, doubles, resends, failovers;

/* ---- what a run knows, by worker: it opens the object as reader, and becomes its writer with its first write ----------------------- */
byte mine[WORKERS + 1];         /* its own writer, made up for its first write */
byte read[WORKERS + 1];         /* the writer that it read; 0 = it has the pen */

/* ---- what is decided beforehand, and does not change -------------------------------------------------------------------------------- */
byte the_release;       /* which command is the release */
bit  hooks;             /* is there outside work before it is destroyed? */

/* ---- ghosts: what an onlooker knows ------------------------------------------------------------------------------------------------ */
byte accepted;          /* commands answered with 202 */
byte consumed;          /* the last command consumed */
bool forgotten;         /* a failover has forgotten acknowledged writes */

#if FAILOVERS > 0
Object replica;         /* what a replica has: some earlier state */
#define in_use(w) (w == o.writer || w == read[1] || w == read[2] || w == mine[3 - me] || w == replica.writer)
#else
#define in_use(w) (w == o.writer || w == read[1] || w == read[2] || w == mine[3 - me])
#endif

#define next(version) ((version + 1) % 4)
#define owes (o.status != destroyed && (o.head < o.tail || o.status == released || o.woken || o.room))

inline enqueue() {
  if
  :: tasks < 2 -> tasks++
  :: tasks >= 2                                 /* as good as one more: nobody counts them */
  fi
}

inline check() {
  assert(!owes || o.wake);                      /* every object that owes an update is in wake */
  assert(forgotten || o.head == consumed)       /* nothing is popped but in the write that applies it */
}

/* owe gives the object a word; only the one that breaks the silence enqueues a task. */
inline owe(word) {
  o.wake = true;                                /* ZADD wake LT */
  breaks = (o.woken == 0);
#ifdef MUTATE_COUNT_WORDS
  o.woken++
#else
  o.woken = word
#endif
}

/* tell enqueues a task, unless the process dies right here: then nobody does. */
inline tell() {
  if
  :: breaks -> enqueue()
  :: crashes < CRASHES -> crashes++
  :: !breaks
  fi
}

/* ---- senders, and a neighbour who leaves something behind ---------------------------------------------------------------------------- */
proctype Sender(byte word) {
  bool breaks;
  atomic {                                      /* send.lua */
    if
    :: o.status == live ->
       o.tail++;                                /* push: record, RPUSH */
       accepted++;
       owe(word);
       check()
    :: else                                     /* the state takes no commands */
    fi
  }
  tell()
}

proctype Neighbour(byte word) {
  bool breaks;
  atomic {                                      /* pass_on, in a write of its own object */
    if
    :: o.status == live ->
       o.room = word;
       owe(word);
       check()
    :: else                                     /* it waits no more */
    fi
  }
  tell()
}

/* ---- workers ----------------------------------------------------------------------------------------------------------------------- */

/* renumber gives whoever has the pen the number 1: writers are random, so that it matters only which of them are the same. */
#define swapped(w) (w == o.writer -> 1 : (w == 1 -> o.writer : w))
inline renumber() {
  read[1] = swapped(read[1]); read[2] = swapped(read[2]); mine[1] = swapped(mine[1]); mine[2] = swapped(mine[2]);
#if FAILOVERS > 0
  replica.writer = swapped(replica.writer);
#endif
  o.writer = 1
}

/* take makes a run the writer, and the words heard that were there when it opened the object; those that came in since stay. */
inline take() {
  assert(o.writer == read[me] && o.version == version);                     /* what it read is what is there */
  if
  :: mine[me] == 0 ->
     do
     :: mine[me] == 0 || in_use(mine[me]) -> mine[me]++
     :: else -> break
     od
  :: else                                       /* sent again, the same */
  fi;
  o.writer = mine[me];
  renumber();
#ifdef MUTATE_FENCE_ONLY
  o.fence++;
#endif
#ifdef MUTATE_COUNT_WORDS
  o.woken = (o.woken > heard -> o.woken - heard : 0)
#else
#ifdef MUTATE_FORGET_WORDS
  o.woken = 0
#else
  o.woken = (o.woken == heard -> 0 : o.woken)
#endif
#endif
}

/* leave_wake takes the object out of wake, unless something came in. By then the run has made use of whatever it saw. */
inline leave_wake() {
  o.room = (o.room == saw -> 0 : o.room);
  if
#ifndef MUTATE_NO_LOOK
  :: o.status != destroyed && (o.woken || o.head < o.tail) -> again = true
#endif
  :: else -> again = false; o.wake = false
  fi
}

/* plan decides on the next step: whatever waits is consumed, which leads to another state if the release is there or the hook is done. */
inline plan(next) {
  to = next;
  applied = 0;
  if
  :: to != released -> finishes = 1
  :: to != destroyed -> finishes = 0
  fi;
#if FAILOVERS > 0
  if
  :: makes = 0
  :: makes = 1
  fi
#endif
}

inline forget() {
  mine[me] = 0; read[me] = 0; version = 0; status = 0; n = 0; heard = 0; saw = 0; to = 0; finishes = 0; again = 0; applied = 0;
#ifdef MUTATE_FENCE_ONLY
  fence = 0;
#endif
#if FAILOVERS > 0
  made = 0; makes = 0;
#endif
}

#ifdef MUTATE_NO_WRITER
#define has_pen (o.writer == mine[me] || mine[me] && read[me] == 0)
#else
#define has_pen (o.writer == mine[me])
#endif

#ifdef MUTATE_NO_VERSION
#define is_repeat false
#define is_as_read true
#else
#define is_repeat (o.version == next(version))
#define is_as_read (o.version == version && o.status == status && o.head + n <= o.tail)
#endif

#ifdef MUTATE_NO_READ_CHECK
#define may_take (read[me] != 0)
#else
#ifdef MUTATE_FENCE_ONLY
#define may_take (read[me] != 0 && o.fence == fence && is_as_read)
#else
#define may_take (read[me] != 0 && o.writer == read[me] && is_as_read)
#endif
#endif

proctype Worker(byte me) {
  byte version, n, heard, saw;
  mtype status, to;
  bit finishes, again, applied;
#ifdef MUTATE_FENCE_ONLY
  byte fence;
#endif
#if FAILOVERS > 0
  bit made, makes;
#endif

endidle:
  atomic {
    tasks > 0 -> tasks--;
    if                                          /* TryLock */
#ifdef NO_LOCK
    :: true
#else
    :: lock == 0 -> lock = me
    :: lock != 0 ->                             /* busy.lua: a little later, and never later than it is owed */
       if
       :: o.status != destroyed -> o.wake = true
       :: else
       fi;
       goto endidle
#endif
    :: crashes < CRASHES -> crashes++; goto endidle
    fi
  }

open:
  atomic {                                      /* Begin: reads the object, and takes nothing */
    forget();
    if
    :: o.status == destroyed -> o.wake = false; goto unlock
    :: else
    fi;
    read[me] = o.writer; version = o.version; status = o.status; heard = o.woken; saw = o.room;
#ifdef MUTATE_FENCE_ONLY
    fence = o.fence;
#endif
#if FAILOVERS > 0
    made = o.made;
#endif
  }
  atomic {                                      /* and then what waits, as it is by now */
    n = o.tail - o.head;
    if
    :: status == live && !heard && n == 0 && !o.wake -> goto unlock                             /* nothing is owed, nothing is written */
    :: else
    fi;
#ifdef MUTATE_POP_EARLY
    o.head = o.tail;
#endif
    check();
    if
    :: status == live && n == 0 -> goto finish  /* nothing to apply */
    :: status == live && n > 0 && o.tail < the_release -> plan(live)
    :: status == live && o.tail >= the_release && !hooks -> plan(destroyed)
    :: status == live && o.tail >= the_release && hooks -> plan(released)   /* which is the intent of the hook */
    :: status == released -> plan(released)     /* only who has the pen begins a hook */
    fi
  }

  /* Here a worker may pause for ever so long, or die; so it may wherever two atomic blocks meet. */
apply:
  if
  :: crashes < CRASHES -> crashes++; goto dead
  :: atomic {                                   /* apply_lease.lua, guard */
       if
       :: has_pen && is_repeat -> goto repeat   /* applied before, and its reply was lost */
       :: has_pen && !is_repeat && is_as_read
       :: !has_pen && may_take ->
          take();
#ifdef MUTATE_LEAVE_WAKE
          o.wake = false
#else
          o.wake = true                         /* now + visibility */
#endif
       :: else -> goto unlock                   /* stale; who still has the lock and not the pen looks again in truth, here the sweeper must */
       fi;
       /* All checks have passed; the writes begin. */
       assert(o.writer == mine[me]);            /* one writer at a time: the last who took the pen */
       assert(forgotten || !applied);           /* no step applied twice */
       applied = 1;
#if FAILOVERS > 0
       assert(o.made == made);                  /* it knows what it writes upon */
       o.made = makes;
#endif
       if
       :: n > 0 ->
          assert(forgotten || o.head == consumed);                          /* in order, none left out, none twice */
          o.head = o.head + n;
          consumed = o.head
       :: else
       fi;
       o.version = next(o.version);
       o.status = to;
       if
       :: to == destroyed -> consumed = o.tail; o.head = o.tail             /* what nobody has read is superseded in the same write */
       :: else
       fi;
repeat:
       if
       :: finishes -> leave_wake()
       :: else
       fi;
       check()
     }
  fi;
  if
  :: resends < RESENDS -> resends++; goto apply /* the reply was lost: go-redis sends it again */
  :: crashes < CRASHES -> crashes++; goto dead
  :: finishes && again -> goto open
  :: finishes && !again -> goto unlock
  :: atomic { !finishes ->
       read[me] = 0; version = next(version); status = to; n = 0;
#if FAILOVERS > 0
       made = makes;
#endif
       if
       :: status == released -> plan(destroyed); goto apply                 /* its hook is done */
       :: else -> to = 0; applied = 0
       fi
     }
  fi;

finish:
  if
  :: crashes < CRASHES -> crashes++; goto dead
  :: atomic {                                   /* finish.lua */
       if
       :: has_pen
       :: !has_pen && may_take -> take()
       :: else -> goto unlock                   /* stale */
       fi;
       leave_wake();
       check()
     }
  fi;
  if
  :: resends < RESENDS -> resends++; goto finish
  :: again -> goto open
  :: !again
  fi;

unlock:
  atomic {
    if
    :: lock == me -> lock = 0
    :: else
    fi;
    forget()
  }
  /* Look once more: a task that found the lock busy after our last look is gone. */
  if
  :: o.woken && o.status != destroyed -> enqueue()
  :: else
  fi;
  goto endidle;

dead:                                           /* kill -9: the lock stays until it expires, and somebody starts a new worker */
  atomic {
    if
    :: lock == me -> orphan = 1
    :: else
    fi;
    forget()
  }
  goto endidle
}

/* ---- sweeper, and what goes wrong by itself ------------------------------------------------------------------------------------------ */
active proctype Sweeper() {
end:
  do
#ifndef MUTATE_NO_SWEEPER
  :: atomic { o.wake -> enqueue() }                                         /* due.lua: time has passed, so that it is due */
#endif
  :: o.status == destroyed && !o.wake && tasks == 0 && failovers == FAILOVERS -> break
  od
}

inline copy(to, from) {
  to.status = from.status; to.version = from.version; to.writer = from.writer;
#ifdef MUTATE_FENCE_ONLY
  to.fence = from.fence;
#endif
  to.head = from.head; to.tail = from.tail; to.woken = from.woken; to.room = from.room; to.wake = from.wake;
#if FAILOVERS > 0
  to.made = from.made
#endif
}

active proctype Faults() {
end:
  do
  :: atomic { expiries < EXPIRIES && lock != 0 -> expiries++; lock = 0; orphan = 0 }    /* its TTL has passed, whatever its holder thinks */
  :: atomic { losses < LOSSES && tasks > 0 -> losses++; tasks = 0 }         /* every asynq key deleted */
  :: atomic { doubles < DOUBLES && tasks > 0 -> doubles++; enqueue() }
#if FAILOVERS > 0
  :: atomic { failovers < FAILOVERS -> failovers++; forgotten = true; copy(o, replica); renumber() }        /* a replica that lags takes over */
  :: atomic { failovers < FAILOVERS -> copy(replica, o) }                   /* replication catches up */
#endif
  :: o.status == destroyed -> break
  od
}

/* The lock of a dead holder expires: that is no fault, it is what a TTL is for. */
active proctype TTL() {
end:
  do
#ifndef MUTATE_NO_TTL
  :: atomic { orphan -> orphan = 0; lock = 0 }
#endif
  :: false
  od
}

#define done (o.status == destroyed && consumed == accepted && !o.wake)

/* When nothing moves any more, nothing is left to do. */
active proctype Standstill() {
  timeout -> assert(done || (forgotten || SENDERS == 0) && !owes && !o.wake)
}

init {
  byte i;
  atomic {
    o.status = live; o.wake = false; o.writer = 1;
#if FAILOVERS > 0
    copy(replica, o);
#endif
#if SENDERS > 0
    select(the_release : 1 .. SENDERS);
#endif
    if
    :: hooks = 0
    :: hooks = 1
    fi;
#if SENDERS > 0
    for (i : 1 .. SENDERS) { run Sender(i) }
#endif
#if NEIGHBOURS > 0
    for (i : 1 .. NEIGHBOURS) { run Neighbour(SENDERS + i) }
#endif
    for (i : 1 .. WORKERS) { run Worker(i) }
  }
}

/* And it does not move for ever without getting there: once the release is accepted, all is consumed and the object destroyed. */
ltl recovers { <> (accepted >= the_release) -> <> [] done }
