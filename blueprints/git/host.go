package git

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/model"
)

// Copies on leased hosts. One script does there, in one ssh session, what the rest of this package does on the worker's machine.

// factsOnHost marks a resource whose copy is on a host, whatever its blueprint says by now.
const factsOnHost = "on-host"

func onHost(res *model.Resource) bool { return res.Work.Facts == factsOnHost }

// The attributes with which a copy tells where its host is.
const (
	attributeHost    = "host"
	attributeAddress = "address"
)

// sshConfig says how to reach the hosts. Keys, known hosts, jump hosts and the like are the operator's, in ssh's own configuration.
type sshConfig struct {
	User string `json:"user"`
	Port int    `json:"port"`
	// AddressAttribute is the attribute of a host that says where it is; a host without it is reached by its name.
	AddressAttribute string `json:"address_attribute"`
}

const defaultAddressAttribute = "address"

var (
	userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)
	// hostPattern leaves out all that ssh or its configuration could take for something else than a host.
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
)

// open checks the settings and fills in the defaults. It returns nil when the copies are on the worker's machine.
func (c *sshConfig) open(on bool, attributes map[string]string) (*sshConfig, error) {
	if !on {
		if c != nil {
			return nil, model.Invalid("config.ssh", `is for copies on leased hosts, and the blueprint has no "on" that says which`)
		}
		return nil, nil
	}
	out := sshConfig{AddressAttribute: defaultAddressAttribute}
	if c != nil {
		out.User, out.Port = c.User, c.Port
		if c.AddressAttribute != "" {
			out.AddressAttribute = c.AddressAttribute
		}
	}
	switch {
	case out.User != "" && !userPattern.MatchString(out.User):
		return nil, model.Invalid("config.ssh.user", "%s is not the name of a user", model.Quote(out.User))
	case out.Port < 0 || out.Port > 65535:
		return nil, model.Invalid("config.ssh.port", "must be between 1 and 65535")
	}
	if err := model.CheckAttributes("config.ssh.address_attribute", map[string]string{out.AddressAttribute: ""}); err != nil {
		return nil, err
	}
	for _, name := range []string{attributeHost, attributeAddress} {
		if _, ok := attributes[name]; ok {
			return nil, model.Invalid("config.attributes."+name, "has a meaning of its own for working copies on hosts")
		}
	}
	return &out, nil
}

// validAddress reports whether ssh takes it for the address of a host, and for nothing else.
func validAddress(address string) bool {
	if hostPattern.MatchString(address) {
		return true
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Zone() == ""
}

// host is where a copy is.
type host struct {
	name, address string
	ssh           *sshConfig
}

// hostOf returns the host that a call's resource stands on.
func (w *copies) hostOf(call blueprints.Call) (*host, error) {
	if call.Host == nil || call.Host.Resource == nil {
		return nil, errors.New("the copy stands on no host")
	}
	h := &host{name: call.Host.Resource.Name, ssh: w.on}
	if h.ssh == nil {
		// The blueprint had copies on hosts, and has none any more. This one has yet to be removed.
		h.ssh = &sshConfig{AddressAttribute: defaultAddressAttribute}
	}
	h.address = call.Host.Resource.Attributes[h.ssh.AddressAttribute]
	field := "attribute " + h.ssh.AddressAttribute
	if h.address == "" {
		h.address, field = h.name, "name"
	}
	if !validAddress(h.address) {
		return nil, fmt.Errorf("the %s of host %s is no address: %s", field, model.Quote(h.name), model.Quote(h.address))
	}
	return h, nil
}

// describe adds where the copy is to its attributes.
func (h *host) describe(attributes map[string]string) {
	attributes[attributeHost], attributes[attributeAddress] = h.name, h.address
}

func (w *copies) activateOnHost(ctx context.Context, call blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
	h, err := w.hostOf(call)
	if err != nil {
		return blueprints.Changes{}, err
	}
	if err := w.onHost(ctx, call, res, stepPrepare, target{}); err != nil {
		return blueprints.Changes{}, err
	}
	folder, err := w.folder(res)
	if err != nil {
		return blueprints.Changes{}, err
	}
	attributes := w.attributesOf(path.Join(folder, res.Name))
	h.describe(attributes)
	return blueprints.Changes{Attributes: attributes}, nil
}

func (w *copies) destroyOnHost(ctx context.Context, call blueprints.Call, res *model.Resource) error {
	if call.Host == nil {
		return nil // it ended before it had a host
	}
	return w.onHost(ctx, call, res, stepRemove, target{})
}

// leaveTries is how often a host is tried that is to be told that a lease has ended.
const leaveTries = 3

// leave tells the host that nothing more comes from a lease. A run for it that a paused worker still has up its sleeve would otherwise
// turn the copy over under the next lease. A host that cannot be reached does not hold the lease up for long.
func (w *copies) leave(ctx context.Context, call blueprints.Call, res *model.Resource, _ *model.Lease) error {
	if !onHost(res) || call.Host == nil {
		return nil
	}
	err := w.onHost(ctx, call, res, stepLeave, target{})
	if _, unreachable := errors.AsType[*unreachableError](err); unreachable && call.Attempt >= leaveTries {
		return nil
	}
	return err
}

//go:embed host.sh
var hostScript string

// The steps of the script.
const (
	stepPrepare = "prepare"
	stepLeave   = "leave"
	stepRemove  = "remove"
)

// The script's exit codes, and ssh's own.
const (
	exitBusy        = 75
	exitStale       = 76
	exitNone        = 77
	exitUnreachable = 255
)

// unreachableError is the failure of ssh itself, and a yield.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// onHost runs one step on the copy's host. When ssh fails it yields with a growing delay: a host that restarts must not break leases.
func (w *copies) onHost(ctx context.Context, call blueprints.Call, res *model.Resource, step string, want target) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	folder, err := w.folder(res)
	if err != nil {
		return err
	}
	h, err := w.hostOf(call)
	if err != nil {
		return err
	}
	if want == (target{}) {
		want.branch = w.branch
	}
	limit := w.hooks.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	kind, value := want.words()
	script := setArguments(
		step, folder, res.Name, call.Object.ID, strconv.FormatInt(call.Fence, 10), strconv.Itoa(int(limit.Seconds())+limitSlack), w.url,
		w.gitConfig(), strings.Join(w.protocols, ":"), kind, value,
	) + hostScript
	_, err = command.Run(ctx, command.Command{
		Argv: h.argv(w.sshConfig), Env: command.Environment([]string{"SSH_AUTH_SOCK", "USER", "LOGNAME"}, map[string]string{"LC_ALL": "C"}),
		Stdin: []byte(script), HoldStdin: true,
	})
	exit, failed := command.AsExit(err)
	if !failed {
		return err
	}
	said := exit.Stderr
	if i := strings.LastIndex(said, "drydock: "); i >= 0 && exit.Code != 1 {
		said = said[i+len("drydock: "):]
	}
	switch exit.Code {
	case exitUnreachable:
		return &unreachableError{blueprints.Yield(0, "host %s cannot be reached: %s", h.name, said)}
	case exitBusy:
		return blueprints.Yield(2*time.Second, "%s", said)
	case exitStale:
		// If this run is the older one, it can write nothing anyway. If Redis has lost claims, each new one counts on from there.
		return blueprints.Yield(0, "host %s refused: %s", h.name, said)
	case exitNone:
		return errors.New(said)
	}
	return fmt.Errorf("on host %s: %w", h.name, err)
}

// limitSlack is how many seconds longer than the worker the host waits before it ends a run by itself.
const limitSlack = 10

// argv is the command line of ssh. What it runs is the same each time; all that varies goes through its input.
func (h *host) argv(config string) []string {
	argv := []string{"ssh"}
	if config != "" {
		argv = append(argv, "-F", config)
	}
	argv = append(argv, "-T", "-x", "-a",
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3",
		// A connection of its own for each run, which ends with it.
		"-o", "ControlPath=none", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no",
	)
	if h.ssh.User != "" {
		argv = append(argv, "-l", h.ssh.User)
	}
	if h.ssh.Port != 0 {
		argv = append(argv, "-p", strconv.Itoa(h.ssh.Port))
	}
	// exec, so that sh leads the process group, whatever shell the user has there.
	return append(argv, "--", h.address, "exec sh -s")
}

// words returns the kind of a target and its name.
func (t target) words() (kind, value string) {
	switch {
	case t.branch != "":
		return attributeBranch, t.branch
	case t.commit != "":
		return attributeCommit, t.commit
	case t.ref != "":
		return attributeRef, t.ref
	}
	return "", ""
}

// setArguments returns a line of shell that sets the positional parameters.
func setArguments(args ...string) string {
	var b strings.Builder
	b.WriteString("set --")
	for _, arg := range args {
		b.WriteString(" '" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	b.WriteString("\n")
	return b.String()
}
