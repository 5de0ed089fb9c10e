/*
 * The protocol by which one object is written (README, "How it stays correct"): senders, workers that crash and pause, a lock that expires
 * under its holder, tasks that are lost, doubled or late, replies that are lost, and a failover of Redis that forgets the last writes.
 *
 * Each atomic block is one Lua script, and is named after it; the comments on the right are the script's own words. Time is left out: what
 * becomes due "after the visibility" may become due at any moment, which is more than any clock allows. Commands are 1, 2, … in the order
 * in which they were sent; the last one is the release.
 *
 * Checked (make model): one writer at a time; nothing consumed twice, out of order, or popped without being applied; no step applied twice;
 * whatever owes an update is in the wake index, at every moment; when nothing moves any more, everything accepted is consumed and the
 * object destroyed (Standstill); and, under weak fairness, that comes to pass (ltl recovers). Each MUTATE_… takes away one thing that the
 * protocol does; each makes a check fail. With NO_LOCK the object lock is switched off: safety does not rest on it.
 */

#ifndef SENDERS
#define SENDERS 2       /* each sends one command: together they are what is waiting */
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
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
mtype = { absent, later, due };                 /* its place in the wake index */

/* ---- what Redis holds about the object ------------------------------------------------------------------------------------------- */
typedef Object {
  mtype status;
  byte  version;
  byte  writer;         /* random in truth; here the worker who claimed, since its earlier claims are over */
#ifdef MUTATE_FENCE_ONLY
  byte  fence;
#endif
  byte  head, tail;     /* waiting are head+1 .. tail */
  bit   woken;
  mtype wake
};
Object o;

/* ---- what is not in that Redis, or is allowed to vanish ---------------------------------------------------------------------------- */
byte tasks;             /* asynq: wake-ups under way */
byte lock;              /* 0 = free, else the worker */
bit  orphan;            /* its holder is dead */
byte crashes, expiries, losses, doubles, resends, failovers;

/* ---- ghosts: what an onlooker knows ------------------------------------------------------------------------------------------------ */
byte rightful;          /* who claimed last */
byte accepted;          /* commands answered with 202 */
byte consumed;          /* the last command consumed */
bool forgotten;         /* a failover has forgotten acknowledged writes */

#if FAILOVERS > 0
Object replica;         /* what a replica has: some earlier state */
#endif

#define owes (o.head < o.tail || o.status == released || o.woken)
#define quiet (crashes == CRASHES && expiries == EXPIRIES && losses == LOSSES && doubles == DOUBLES && resends == RESENDS)

inline enqueue() {
  if
  :: tasks < 2 -> tasks++
  :: tasks >= 2                                 /* as good as one more: nobody counts them */
  fi
}

inline check() {
  assert(!owes || o.wake != absent);            /* every object that owes an update is in wake */
  assert(forgotten || o.head == consumed)       /* nothing is popped but in the write that applies it */
}

/* ---- senders ---------------------------------------------------------------------------------------------------------------------- */
proctype Sender() {
  bool turned_on;
  atomic {                                      /* send.lua */
    turned_on = false;
    if
    :: o.status == destroyed || o.status == released -> goto refused        /* the state takes no commands */
    :: else
    fi;
    o.tail++;                                   /* push: record, RPUSH */
    accepted++;
    o.wake = (o.wake == due -> due : later);    /* owe: ZADD wake LT */
    if
    :: !o.woken -> o.woken = 1; turned_on = true
    :: else
    fi;
    check()
  }
  /* The process may die right here: then nobody enqueues. */
  if
  :: turned_on -> enqueue()
  :: crashes < CRASHES -> crashes++
  :: !turned_on
  fi;
refused:
  skip
}

/* ---- workers ----------------------------------------------------------------------------------------------------------------------- */
proctype Worker(byte me) {
  byte version, n, tail;
  mtype status;
  bool resent;
#ifdef MUTATE_FENCE_ONLY
  byte fence;
#endif
  byte effects;

endidle:
  atomic { tasks > 0 -> tasks-- }
  atomic {                                      /* TryLock */
    if
#ifdef NO_LOCK
    :: true
#else
    :: lock == 0 -> lock = me
    :: lock != 0 ->               /* busy.lua: a little later, and never later than it is owed */
       if
       :: o.status != destroyed -> o.wake = (o.wake == due -> due : later)
       :: else
       fi;
       check();
       goto endidle
#endif
    fi
  }

claim:
  atomic {                                      /* claim.lua */
    if
    :: o.status == destroyed -> o.wake = absent; o.woken = 0; goto unlock
    :: else
    fi;
    rightful = me;
    o.writer = me;                              /* a fresh writer … */
#if FAILOVERS > 0
    if
    :: replica.writer == me -> replica.writer = 0                           /* … which no earlier state can have */
    :: else
    fi;
#endif
#ifdef MUTATE_FENCE_ONLY
    if
    :: o.fence == 4 -> goto unlock              /* far enough to see it fail */
    :: else -> o.fence++; fence = o.fence       /* … and a higher fence */
    fi;
#endif
    o.woken = 0;
#ifdef MUTATE_LEAVE_WAKE
    o.wake = absent;
#else
    o.wake = later;                             /* now + visibility */
#endif
    version = o.version; status = o.status; tail = o.tail; n = o.tail - o.head;
#ifdef MUTATE_POP_EARLY
    o.head = o.tail;
#endif
    check()
  }

  /* Here a worker may pause for ever so long, or die; so it may wherever two atomic blocks meet. */
  if
  :: crashes < CRASHES -> crashes++; goto dead
  :: true
  fi;

  /* The step: consume what waits; live goes to released if the release is there; released goes to destroyed after its hook. */
  resent = false; effects = 0;
  if
  :: n == 0 && status == live -> goto finish    /* nothing to apply */
  :: else
  fi;
apply:
  atomic {                                      /* apply_lease.lua, guard */
    if
#ifdef MUTATE_NO_WRITER
    :: true
#else
#ifdef MUTATE_FENCE_ONLY
    :: o.fence == fence
#else
    :: o.writer == me
#endif
#endif
    :: else -> goto unlock                      /* stale */
    fi;
#ifndef MUTATE_NO_VERSION
    if
    :: o.version == version + 1 && resent -> goto finish    /* repeat: applied before, and its reply was lost */
    :: o.version == version && o.status == status && o.head + n <= o.tail
    :: else -> goto unlock                      /* stale */
    fi;
#endif
    /* All checks have passed; the writes begin. */
    assert(rightful == me);                     /* one writer at a time: the last who claimed */
    assert(forgotten || effects == 0);          /* no step applied twice */
    effects++;
    if
    :: n > 0 ->
       assert(forgotten || o.head == consumed); /* in order, none left out, none twice */
       o.head = o.head + n;
       consumed = o.head
    :: else
    fi;
    o.version++;
    if
    :: status == live && tail == SENDERS -> o.status = released           /* the last command is the release */
    :: status == released ->
       o.status = destroyed;
       consumed = o.tail; o.head = o.tail       /* what nobody read any more is superseded in the same write */
    :: else
    fi;
    check()
  }
  if
  :: resends < RESENDS -> resends++; resent = true; goto apply             /* the reply was lost: go-redis sends it again */
  :: crashes < CRASHES -> crashes++; goto dead
  :: true
  fi;

finish:
  atomic {                                      /* finish.lua */
    if
    :: o.status == destroyed -> o.wake = absent; o.woken = 0; goto unlock
    :: o.status != destroyed && o.writer != me -> goto unlock             /* stale */
#ifdef MUTATE_NO_LOOK
    :: o.status == live && o.writer == me -> o.wake = absent
#else
    :: o.status != destroyed && o.writer == me && (o.woken || o.head < o.tail || o.status == released) -> goto claim
    :: o.writer == me && !o.woken && o.head == o.tail && o.status == live -> o.wake = absent
#endif
    fi;
    check()
  }

unlock:
  atomic {
    if
    :: lock == me -> lock = 0
    :: else
    fi
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
    fi
  }
  goto endidle
}

/* ---- sweeper, and what goes wrong by itself ------------------------------------------------------------------------------------------ */
active proctype Sweeper() {
end:
  do
  :: atomic { o.wake == later -> o.wake = due }                             /* time passes */
#ifndef MUTATE_NO_SWEEPER
  :: atomic { o.wake == due -> o.wake = later; enqueue() }                  /* due.lua: out of sight for the visibility, and a task */
#endif
  :: o.status == destroyed && o.wake == absent && tasks == 0 -> break
  od
}

active proctype Faults() {
end:
  do
  :: atomic { expiries < EXPIRIES && lock != 0 -> expiries++; lock = 0; orphan = 0 }    /* its TTL has passed, whatever its holder thinks */
  :: atomic { losses < LOSSES && tasks > 0 -> losses++; tasks = 0 }         /* every asynq key deleted */
  :: atomic { doubles < DOUBLES && tasks > 0 -> doubles++; enqueue() }
#if FAILOVERS > 0
  :: atomic {                                                               /* a replica that lags takes over */
       failovers < FAILOVERS && replica.version <= o.version -> failovers++;
       o.status = replica.status; o.version = replica.version; o.writer = replica.writer;
#ifdef MUTATE_FENCE_ONLY
       o.fence = replica.fence;
#endif
       o.head = replica.head; o.tail = replica.tail; o.woken = replica.woken; o.wake = replica.wake;
       rightful = replica.writer;                                           /* of the claims that are still known */
       forgotten = true
     }
  :: atomic {                                                               /* replication catches up */
       failovers < FAILOVERS ->
       replica.status = o.status; replica.version = o.version; replica.writer = o.writer;
#ifdef MUTATE_FENCE_ONLY
       replica.fence = o.fence;
#endif
       replica.head = o.head; replica.tail = o.tail; replica.woken = o.woken; replica.wake = o.wake
     }
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

#define done (o.status == destroyed && consumed == accepted && o.wake == absent)

/* When nothing moves any more, nothing is left to do. */
active proctype Standstill() {
  timeout -> assert(forgotten || done)
}

init {
  byte i;
  atomic {
    o.status = live; o.wake = absent;
#if FAILOVERS > 0
    replica.status = live; replica.wake = absent;
#endif
    for (i : 1 .. SENDERS) { run Sender() }
    for (i : 1 .. WORKERS) { run Worker(i) }
  }
}

/* And it does not move for ever without getting there: once all is accepted, all is consumed and the object destroyed. */
ltl recovers { <> (accepted == SENDERS) -> <> [] done }
