// Package exec is the blueprint kind whose resources are made by the operator's own commands, one for each step that
// needs work.
//
// The contract with a command is in docs/blueprints/exec.md: the [hook.Message] comes as JSON on standard input and in
// the environment, the [hook.Answer] goes as JSON to standard output, and the exit code says how it went.
package exec

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/blueprints/hook"
	"drydock/model"
)

// Kind opens blueprints of commands.
type Kind struct {
	// Commands says which programs a blueprint may name.
	Commands command.Policy
}

// exitTempFail is EX_TEMPFAIL of sysexits.h: not now, try again later.
const exitTempFail = 75

type config struct {
	hook.Resources
	Commands  commands          `json:"commands"`
	Directory string            `json:"directory"`
	Env       map[string]string `json:"env"`
	Timeout   model.Duration    `json:"timeout"`
}

type commands struct {
	Allocate      []string `json:"allocate"`
	Activate      []string `json:"activate"`
	Update        []string `json:"update"`
	Destroy       []string `json:"destroy"`
	Acquire       []string `json:"acquire"`
	ActivateLease []string `json:"activate_lease"`
	ReleaseLease  []string `json:"release_lease"`
	DestroyLease  []string `json:"destroy_lease"`
}

func (c *commands) byStep() map[hook.Step][]string {
	all := map[hook.Step][]string{
		hook.StepAllocate: c.Allocate, hook.StepActivate: c.Activate, hook.StepUpdate: c.Update, hook.StepDestroy: c.Destroy,
		hook.StepAcquire: c.Acquire, hook.StepActivateLease: c.ActivateLease, hook.StepReleaseLease: c.ReleaseLease,
		hook.StepDestroyLease: c.DestroyLease,
	}
	maps.DeleteFunc(all, func(_ hook.Step, argv []string) bool { return argv == nil })
	return all
}

// Name implements [blueprints.Kind].
func (Kind) Name() string { return "exec" }

// Open implements [blueprints.Kind].
func (k Kind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var c config
	if err := blueprints.DecodeConfig(bp.Config, &c); err != nil {
		return nil, err
	}
	if err := c.check(k.Commands); err != nil {
		return nil, err
	}
	r := &runner{commands: c.Commands.byStep(), dir: c.Directory, env: c.Env}
	return hook.New(bp, c.Resources, slices.Sorted(maps.Keys(r.commands)), time.Duration(c.Timeout), r), nil
}

// envPattern is what a shell takes as the name of a variable.
var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Limits on the configured environment.
const (
	maxEnv         = 64
	maxEnvLength   = 4096
	ownVariables   = "DRYDOCK_"
	maxVariableLen = 128
)

func (c *config) check(policy command.Policy) error {
	if err := c.Resources.Check(); err != nil {
		return err
	}
	byStep := c.Commands.byStep()
	if len(byStep) == 0 {
		return model.Invalid("config.commands", "must have at least one of %s", model.Join(hook.Steps()))
	}
	for _, step := range hook.Steps() {
		if argv, ok := byStep[step]; ok {
			if err := policy.Check("config.commands."+string(step), argv); err != nil {
				return err
			}
		}
	}
	if c.Directory != "" && (!filepath.IsAbs(c.Directory) || strings.ContainsRune(c.Directory, 0)) {
		return model.Invalid("config.directory", "must be an absolute path")
	}
	if len(c.Env) > maxEnv {
		return model.Invalid("config.env", "must have at most %d entries", maxEnv)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		switch {
		case len(name) > maxVariableLen || !envPattern.MatchString(name):
			return model.Invalid("config.env", "the name %s must be letters, digits and '_'", model.Quote(name))
		case strings.HasPrefix(name, ownVariables):
			return model.Invalid("config.env."+name, "names that begin with %s are Drydock's own", ownVariables)
		case len(c.Env[name]) > maxEnvLength || strings.ContainsRune(c.Env[name], 0):
			// The value may be a secret and is not shown.
			return model.Invalid("config.env."+name, "must be at most %d bytes without NUL", maxEnvLength)
		}
	}
	if c.Timeout != 0 {
		return model.CheckTTL("config.timeout", time.Duration(c.Timeout))
	}
	return nil
}

// runner runs the commands of one blueprint.
type runner struct {
	commands map[hook.Step][]string
	dir      string
	env      map[string]string
}

// Call implements [hook.Caller].
func (r *runner) Call(ctx context.Context, m *hook.Message, body []byte) ([]byte, error) {
	res, err := command.Run(ctx, command.Command{
		Argv:  r.commands[m.Step],
		Dir:   r.dir,
		Env:   command.Environment(nil, r.env, variables(m)),
		Stdin: body,
	})
	if exit, ok := command.AsExit(err); ok && exit.Code == exitTempFail {
		return nil, hook.ParseYield(res.Stdout, exit.Stderr)
	}
	if err != nil {
		return nil, err
	}
	if res.Truncated && hook.TakesAnswer(m.Step) {
		return nil, fmt.Errorf("the command wrote more than %d KiB to standard output", command.MaxStdout>>10)
	}
	return res.Stdout, nil
}

// variables are the message in the form that suits a shell script.
func variables(m *hook.Message) map[string]string {
	vars := map[string]string{
		"DRYDOCK_STEP":            string(m.Step),
		"DRYDOCK_OBJECT":          m.Object.Namespace + "/" + string(m.Object.Kind) + "/" + m.Object.ID,
		"DRYDOCK_OBJECT_KIND":     string(m.Object.Kind),
		"DRYDOCK_OBJECT_ID":       m.Object.ID,
		"DRYDOCK_NAMESPACE":       m.Object.Namespace,
		"DRYDOCK_BLUEPRINT":       m.Blueprint,
		"DRYDOCK_FENCE":           strconv.FormatInt(m.Fence, 10),
		"DRYDOCK_IDEMPOTENCY_KEY": m.IdempotencyKey,
		"DRYDOCK_ATTEMPT":         strconv.Itoa(m.Attempt),
	}
	if res := m.Resource; res != nil {
		if res.ID != nil {
			vars["DRYDOCK_RESOURCE_ID"] = *res.ID
		}
		vars["DRYDOCK_RESOURCE_NAME"] = res.Name
		vars["DRYDOCK_RESOURCE_FACTS"] = res.Facts
		addAttributes(vars, "DRYDOCK_RESOURCE_ATTRIBUTE_", res.Attributes)
	}
	if lease := m.Lease; lease != nil {
		vars["DRYDOCK_LEASE_ID"] = lease.ID
		vars["DRYDOCK_LEASE_OWNER"] = lease.Owner
		addAttributes(vars, "DRYDOCK_LEASE_ATTRIBUTE_", lease.Attributes)
	}
	return vars
}

// addAttributes adds a variable for each attribute: "vendor/os" becomes VENDOR_OS. Attributes that would share a variable
// get none: a script that reads the wrong one is worse off than one that finds nothing and looks at the JSON.
func addAttributes(vars map[string]string, prefix string, attributes map[string]string) {
	taken := make(map[string]int, len(attributes))
	for name := range attributes {
		taken[variableName(name)]++
	}
	for name, value := range attributes {
		if v := variableName(name); taken[v] == 1 {
			vars[prefix+v] = value
		}
	}
}

func variableName(attribute string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - ('a' - 'A')
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, attribute)
}
