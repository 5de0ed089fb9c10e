//go:build unix

// Package target is the outside world of a torture run: what the hooks of exec blueprints work on. It is as careful as the manual asks a
// target to be: it takes one hook at a time, remembers the newest fence of each object and refuses older ones, and knows which
// resources are gone. Everything that it is asked, done or refused, goes into a file, in the order in which it happened.
package target

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Effect is one hook that came to the target.
type Effect struct {
	Step string `json:"step"`
	// Object is the object whose step it is, as namespace/kind/id.
	Object       string `json:"object"`
	Resource     string `json:"resource"`
	ResourceName string `json:"resource_name"`
	Fence        int64  `json:"fence"`
	// Key is the idempotency key of the step.
	Key     string `json:"key"`
	Attempt int    `json:"attempt"`
	// BeginAt is when the hook began, At when the target took it up, in nanoseconds since 1970.
	BeginAt int64 `json:"begin_at"`
	At      int64 `json:"at"`
	// Refused is why nothing was done; empty when it was.
	Refused string `json:"refused,omitempty"`
}

// Steps that hooks have, as far as the target knows them.
const (
	StepActivate      = "activate"
	StepDestroy       = "destroy"
	StepActivateLease = "activate_lease"
	StepReleaseLease  = "release_lease"
	StepDestroyLease  = "destroy_lease"
)

// EnvFolder names the environment variable that says where the target keeps its files.
const EnvFolder = "TORTURE_TARGET"

// Trouble is what the target does to hooks while it is in a bad mood.
type Trouble string

// Troubles.
const (
	// HangBefore hangs before anything is done.
	HangBefore Trouble = "hang-before"
	// HangAfter does what is asked, and hangs before it says so.
	HangAfter Trouble = "hang-after"
	// Fail does what is asked, and says that it failed.
	Fail Trouble = "fail"
)

// Hangs is how long a hook hangs: longer than the timeout of every hook of a torture run. One whose worker was killed goes on afterwards.
const Hangs = 3500 * time.Millisecond

// longest bounds how long a hook takes before its work, and again after it.
const longest = 150 * time.Millisecond

// ErrRefused is the error of a hook with an older fence than one that the target has seen, or on a resource that is gone.
var ErrRefused = errors.New("refused")

// A Target keeps its files in a folder, which several processes use at once.
type Target struct{ Folder string }

func (t Target) path(elem ...string) string {
	return filepath.Join(append([]string{t.Folder}, elem...)...)
}

// Prepare makes the folders.
func (t Target) Prepare() error {
	return errors.Join(os.MkdirAll(t.path("fence"), 0o700), os.MkdirAll(t.path("gone"), 0o700))
}

// SetTrouble puts the target into a mood; "" ends it.
func (t Target) SetTrouble(trouble Trouble) error {
	if trouble == "" {
		if err := os.Remove(t.path("trouble")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(t.path("trouble"), []byte(trouble), 0o600)
}

func (t Target) trouble() Trouble {
	text, _ := os.ReadFile(t.path("trouble"))
	return Trouble(text)
}

// Run does the hook that the environment describes.
func (t Target) Run(getenv func(string) string) error {
	e := Effect{
		Step: getenv("DRYDOCK_STEP"), Object: getenv("DRYDOCK_OBJECT"), Resource: getenv("DRYDOCK_RESOURCE_ID"),
		ResourceName: getenv("DRYDOCK_RESOURCE_NAME"), Key: getenv("DRYDOCK_IDEMPOTENCY_KEY"), BeginAt: time.Now().UnixNano(),
	}
	var err error
	if e.Fence, err = strconv.ParseInt(getenv("DRYDOCK_FENCE"), 10, 64); err != nil {
		return fmt.Errorf("DRYDOCK_FENCE: %w", err)
	}
	if e.Attempt, err = strconv.Atoi(getenv("DRYDOCK_ATTEMPT")); err != nil {
		return fmt.Errorf("DRYDOCK_ATTEMPT: %w", err)
	}
	trouble := t.trouble()
	if trouble == HangBefore {
		time.Sleep(Hangs)
	}
	// Work takes time, so that things can happen meanwhile.
	time.Sleep(rand.N(longest))
	err = t.Take(e)
	time.Sleep(rand.N(longest))
	switch {
	case trouble == HangAfter:
		time.Sleep(Hangs)
	case trouble == Fail && err == nil:
		return errors.New("in a bad mood")
	}
	return err
}

// Take takes a hook up: it is done or refused, and written down, before the next one is looked at.
func (t Target) Take(e Effect) error {
	lock, err := os.OpenFile(t.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the target: %w", err)
	}
	e.At = time.Now().UnixNano()
	if e.Refused, err = t.judge(e); err != nil {
		return err
	}
	if err := t.write(e); err != nil {
		return err
	}
	if e.Refused == "" || e.Refused == RefusedGone {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, e.Refused)
}

// RefusedGone is why a clean-up is not done: there is nothing left to clean up. The hook is told that all is well.
const RefusedGone = "its resource is gone, and its leases with it"

// judge says why a hook is refused, and remembers what it has seen.
func (t Target) judge(e Effect) (refused string, err error) {
	fenceFile := t.path("fence", filepath.Base(e.Object))
	newest := int64(0)
	if text, err := os.ReadFile(fenceFile); err == nil { //nolint:gosec // the base of an object's name, in our folder
		if newest, err = strconv.ParseInt(string(text), 10, 64); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if e.Fence < newest {
		return fmt.Sprintf("fence %d is older than %d", e.Fence, newest), nil
	}
	// A hook may be killed at any moment: the file holds the old fence or the new one.
	if err := os.WriteFile(fenceFile+".new", strconv.AppendInt(nil, e.Fence, 10), 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(fenceFile+".new", fenceFile); err != nil {
		return "", err
	}
	gone := t.path("gone", e.Resource)
	if e.Step == StepDestroy {
		return "", os.WriteFile(gone, nil, 0o600)
	}
	if _, err := os.Stat(gone); err == nil {
		if e.Step == StepReleaseLease || e.Step == StepDestroyLease {
			return RefusedGone, nil
		}
		return "its resource is gone", nil
	}
	return "", nil
}

func (t Target) write(e Effect) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(t.path("effects"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Effects returns all that came to the target, in the order in which it took them up.
func (t Target) Effects() ([]Effect, error) {
	text, err := os.ReadFile(t.path("effects"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var effects []Effect
	for line := range bytes.Lines(text) {
		var e Effect
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("effect %q: %w", line, err)
		}
		effects = append(effects, e)
	}
	return effects, nil
}
