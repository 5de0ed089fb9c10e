package locks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
)

var (
	errUnlocked = fmt.Errorf("%w: it was unlocked", ErrLost)
	errTimeOver = errors.New("trusted time is over")
)

// Lock is an object lock that is held. Its methods may be called from several goroutines.
type Lock struct {
	locker *Locker
	ctx    context.Context
	cancel context.CancelCauseFunc

	// callMu is held during a call to the nodes and what belongs to it: a redsync mutex serves one goroutine at a time.
	callMu sync.Mutex
	mutex  *redsync.Mutex

	mu       sync.Mutex
	start    Reading // taken before the call that took or last extended the lock
	lastErr  error   // why the last attempt to extend it failed
	ended    error   // matches ErrLost: the lock was lost or unlocked
	frozen   bool    // no more extension
	extender *time.Timer
	guard    *time.Timer // ends the lock with its trusted time; nil until the first extension is due
	onExtend func(context.Context)
	unlocked bool
}

func newLock(ctx context.Context, l *Locker, mutex *redsync.Mutex, start Reading) *Lock {
	k := &Lock{locker: l, mutex: mutex, start: start}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.extender = time.AfterFunc(l.cfg.TTL/3, k.extend)
	return k
}

// Key returns the name of the lock.
func (k *Lock) Key() string {
	return k.mutex.Name()
}

// Context returns a child of TryLock's context that ends before the lock's trusted time does, and when the lock is lost or unlocked. Once
// the lock is lost, [context.Cause] returns an error that matches [ErrLost].
func (k *Lock) Context() context.Context {
	return k.ctx
}

// Trusted returns nil while the lock may be relied upon, and otherwise why not, as an error that matches [ErrLost]. It asks the clocks of
// this machine, not the nodes; finding that trusted time is over, it also ends the lock.
func (k *Lock) Trusted() error {
	now := k.locker.cfg.Clocks()
	k.mu.Lock()
	ended, left := k.ended, k.leftLocked(now)
	k.mu.Unlock()
	if ended != nil {
		return ended
	}
	if left <= 0 {
		return k.lose(errTimeOver)
	}
	return nil
}

func (k *Lock) leftLocked(now Reading) time.Duration {
	return k.locker.cfg.TTL - k.locker.cfg.Margin - now.since(k.start)
}

// OnExtend sets a function that is called after each successful extension, to move along what must outlive the lock. The next extension
// waits for it, so it must do one quick thing and return when its context ends, which is after a node timeout. It must not call
// StopExtending or Unlock. There is one function; nil removes it.
func (k *Lock) OnExtend(fn func(context.Context)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onExtend = fn
}

// StopExtending lets the lock run out by itself: it stays trusted for what is left, then its context ends. When StopExtending returns, no
// OnExtend function runs or will run.
func (k *Lock) StopExtending() {
	k.mu.Lock()
	k.freezeLocked()
	if k.ended == nil {
		k.guardLocked()
	}
	k.mu.Unlock()
	// Wait for a call under way.
	k.callMu.Lock()
	defer k.callMu.Unlock()
}

func (k *Lock) freezeLocked() {
	k.frozen = true
	k.extender.Stop()
}

// Unlock ends the lock's context and frees the lock, also when TryLock's context has ended. It returns within a few node timeouts; when
// Redis does not answer, the key expires by itself. A failure is logged. Only the first call does anything.
func (k *Lock) Unlock() {
	k.mu.Lock()
	if k.unlocked {
		k.mu.Unlock()
		return
	}
	k.unlocked = true
	lost := k.ended != nil
	if !lost {
		k.endLocked(errUnlocked)
	}
	k.mu.Unlock()
	k.cancel(nil)

	k.callMu.Lock()
	defer k.callMu.Unlock()
	// A lost lock is freed as well: some nodes may still have it, and only our own value is ever removed.
	if _, err := k.mutex.UnlockContext(k.ctx); err != nil && !lost {
		k.locker.cfg.Logger.Warn("unlock failed", k.locker.cfg.Attr(k.Key()), slog.Any("error", err))
	}
}

func (k *Lock) endLocked(why error) {
	k.ended = why
	k.freezeLocked()
	if k.guard != nil {
		k.guard.Stop()
	}
}

// lose ends the lock because of why, unless it has ended, and returns why it ended.
func (k *Lock) lose(why error) error {
	k.mu.Lock()
	if k.ended != nil {
		defer k.mu.Unlock()
		return k.ended
	}
	err := fmt.Errorf("%w: %w", ErrLost, why)
	if k.lastErr != nil {
		err = fmt.Errorf("%w; extend: %w", err, k.lastErr)
	}
	k.endLocked(err)
	k.mu.Unlock()
	k.cancel(err)
	k.locker.cfg.Logger.Warn("lock lost", k.locker.cfg.Attr(k.Key()), slog.Any("error", err))
	if k.locker.cfg.Lost != nil {
		k.locker.cfg.Lost(k.Key(), err)
	}
	return err
}

// guardLocked makes sure that the lock ends with its trusted time, also when a call to a node hangs.
func (k *Lock) guardLocked() {
	if k.guard == nil {
		k.guard = time.AfterFunc(k.leftLocked(k.locker.cfg.Clocks()), k.checkTime)
	}
}

// checkTime runs when the trusted time is over that was left when the guard was set; it may have grown since.
func (k *Lock) checkTime() {
	if k.Trusted() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == nil {
		k.guard.Reset(k.leftLocked(k.locker.cfg.Clocks()))
	}
}

// extend makes one attempt to extend the lock, and plans the next.
func (k *Lock) extend() {
	k.callMu.Lock()
	defer k.callMu.Unlock()

	k.mu.Lock()
	if k.frozen {
		k.mu.Unlock()
		return
	}
	k.guardLocked()
	k.mu.Unlock()
	if k.Trusted() != nil {
		return
	}

	cfg := &k.locker.cfg
	start := cfg.Clocks()
	_, err := k.mutex.ExtendContext(k.ctx)
	if cfg.ExtendDone != nil {
		cfg.ExtendDone(cfg.Clocks().since(start), err)
	}
	if err != nil {
		if isTaken(err) {
			_ = k.lose(err)
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.lastErr = err
		k.planLocked(cfg.TTL / 40)
		return
	}

	k.mu.Lock()
	fn := k.onExtend
	if k.frozen {
		fn = nil
	}
	if k.ended == nil {
		k.start, k.lastErr = start, nil
	}
	k.mu.Unlock()
	if fn != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), cfg.NodeTimeout)
		fn(ctx)
		cancel()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.planLocked(cfg.TTL/3 - cfg.Clocks().since(start))
}

func (k *Lock) planLocked(wait time.Duration) {
	if !k.frozen {
		k.extender.Reset(wait)
	}
}
