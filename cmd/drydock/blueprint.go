package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/blueprints"
	"drydock/blueprints/exec"
	"drydock/blueprints/git"
	"drydock/blueprints/pool"
	"drydock/blueprints/webhook"
	"drydock/client"
	"drydock/model"
	"drydock/outbound"
)

func blueprintCommand(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "blueprint", Usage: "declare what makes resources",
		Commands: []*cli.Command{blueprintApply(o), blueprintGet(o), blueprintList(o), blueprintDelete(o)},
	}
}

// maxDeclarations bounds a file of declarations that is read from a pipe, as --blueprints bounds it on disk.
const maxDeclarations = 16 << 20

func blueprintApply(o *clientOptions) *cli.Command {
	var file string
	var dry bool
	return &cli.Command{
		Name: "apply", Usage: "declare the blueprints of a file",
		Description: "The file is one for --blueprints of `drydock dev`. What it declares is checked here before the first is sent, and by the\n" +
			"server, which may allow less: programs and addresses are its operator's choice. Blueprints that are the same already are\n" +
			"left alone, and those that the file does not name too.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Destination: &file, Required: true, TakesFile: true, Usage: "`FILE` in YAML or JSON; - reads stdin"},
			&cli.BoolFlag{Name: "dry-run", Destination: &dry, Usage: "show what would change, and change nothing"},
		},
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			data, err := readDeclarations(file)
			if err != nil {
				return err
			}
			declared, err := blueprints.ParseIn(s.Namespace(), file, data, everyKind())
			if err != nil {
				return err
			}
			var applied []wire.Blueprint
			var rows [][]cell
			for _, bp := range declared {
				stored, action, err := s.apply(ctx, bp, dry)
				if err != nil {
					return fmt.Errorf("blueprint %s: %w", bp.Name, err)
				}
				applied = append(applied, stored)
				rows = append(rows, append(plain(stored.Name, stored.Namespace, stored.Kind, stored.Type), action))
			}
			if s.out.json {
				return s.out.object(whole(applied))
			}
			return s.out.table([]string{"BLUEPRINT", "NAMESPACE", "KIND", "TYPE", "ACTION"}, rows)
		}),
	}
}

func readDeclarations(file string) ([]byte, error) {
	from := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names the file
		if err != nil {
			return nil, model.Invalid("--file", "%s", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxDeclarations+1))
	if err != nil {
		return nil, model.Invalid("--file", "%s", err)
	}
	if len(data) > maxDeclarations {
		return nil, model.Invalid("--file", "%s must not be longer than %d MiB", file, maxDeclarations>>20)
	}
	return data, nil
}

// apply declares a blueprint unless it is there already, and says what it did, or would do.
func (s *session) apply(ctx context.Context, bp *model.Blueprint, dry bool) (wire.Blueprint, cell, error) {
	c, err := s.In(bp.Namespace)
	if err != nil {
		return wire.Blueprint{}, cell{}, err
	}
	before, err := c.GetBlueprint(ctx, bp.Name)
	isNew := client.IsNotFound(err)
	if err != nil && !isNew {
		return before, cell{}, err
	}
	if !isNew && sameBlueprint(before, bp) {
		return before, cell{"unchanged", dim}, nil
	}
	if dry {
		would := wire.FromBlueprint(bp)
		would.Rev, would.CreatedAt, would.UpdatedAt = before.Rev, before.CreatedAt, before.UpdatedAt
		if isNew {
			return would, cell{"would be created", green}, nil
		}
		return would, cell{"would be changed", yellow}, nil
	}
	whole := wire.FromBlueprint(bp)
	// What was looked at is what is replaced: somebody else's change in between is not overwritten unseen.
	cond := model.Condition{None: true}
	if !isNew {
		cond = model.Condition{Rev: &before.Rev}
	}
	stored, created, err := c.PutBlueprint(ctx, bp.Name, wire.NewBlueprint{
		Kind: bp.Kind, Type: bp.Type, Limit: bp.Limit, MinIdle: bp.MinIdle, MaxIdleAge: whole.MaxIdleAge, Quota: bp.Quota,
		On: whole.On, Authorize: bp.Authorize, Enabled: &bp.Enabled, Config: bp.Config,
	}, client.If(cond))
	if created {
		return stored, cell{"created", green}, err
	}
	return stored, cell{"changed", yellow}, err
}

// sameBlueprint reports whether a declaration would change nothing.
func sameBlueprint(stored wire.Blueprint, bp *model.Blueprint) bool {
	declared := wire.FromBlueprint(bp)
	if !sameJSON(stored.Config, declared.Config) {
		return false
	}
	// The rest as a whole, so that no field is forgotten.
	declared.Rev, declared.CreatedAt, declared.UpdatedAt = stored.Rev, stored.CreatedAt, stored.UpdatedAt
	stored.Config, declared.Config = nil, nil
	a, errA := json.Marshal(stored)
	b, errB := json.Marshal(declared)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// sameJSON compares values, not how they are written. Numbers are compared as written, so that none is rounded.
func sameJSON(a, b json.RawMessage) bool {
	read := func(raw json.RawMessage) (v any) {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if dec.Decode(&v) != nil || v == nil {
			return map[string]any{} // a config that was left out
		}
		return v
	}
	return reflect.DeepEqual(read(a), read(b))
}

// everyKind knows all kinds without bounds: those are the server's.
func everyKind() *blueprints.Registry {
	return blueprints.NewRegistry(pool.Kind{}, exec.Kind{}, webhook.Kind{Addresses: outbound.AddressPolicy{Private: true}}, gitAnywhere{})
}

// gitAnywhere is the git kind on a server that keeps copies wherever a blueprint wants them.
type gitAnywhere struct{}

// Name implements [blueprints.Kind].
func (gitAnywhere) Name() string { return git.Kind{}.Name() }

// Open implements [blueprints.Kind].
func (gitAnywhere) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var config struct {
		Root string `json:"root"`
	}
	_ = json.Unmarshal(bp.Config, &config) // the kind says what is wrong
	return git.Kind{Root: cmp.Or(config.Root, defaultGitRoot)}.Open(bp)
}

func blueprintGet(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "show a blueprint", ArgsUsage: "NAME",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			b, err := s.GetBlueprint(ctx, name)
			if err != nil {
				return err
			}
			return s.showBlueprint(b)
		}),
	}
}

// showBlueprint prints one blueprint in full.
func (s *session) showBlueprint(b wire.Blueprint) error {
	if s.out.json {
		return s.out.object(b)
	}
	now := s.now()
	err := s.out.table(nil, [][]cell{
		plain("Blueprint", b.Name),
		plain("Namespace", b.Namespace),
		plain("Kind", b.Kind),
		plain("Type", b.Type),
		plain("Limit", limitOf(b)),
		{{text: "Enabled"}, enabled(b)},
		plain("Revision", fmt.Sprint(b.Rev)),
		plain("Created", stamp(b.CreatedAt, now)),
		plain("Updated", stamp(b.UpdatedAt, now)),
		plain("Config", ""),
	})
	if err != nil {
		return err
	}
	var config bytes.Buffer
	if err := json.Indent(&config, b.Config, "  ", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out.w, "  %s\n", config.String()) // JSON has no control characters
	return err
}

func limitOf(b wire.Blueprint) string {
	if b.Limit == 0 {
		return "-"
	}
	return fmt.Sprint(b.Limit)
}

func enabled(b wire.Blueprint) cell {
	if b.Enabled {
		return cell{"yes", green}
	}
	return cell{"no", yellow}
}

func blueprintList(o *clientOptions) *cli.Command {
	var l listed
	return &cli.Command{
		Name: "list", Usage: "list blueprints by name", Flags: l.flags(),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			page, err := pageOf(l.all, func() (wire.Page[wire.Blueprint], error) { return s.ListBlueprints(ctx, l.page()) }, s.Blueprints(ctx))
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(page)
			}
			rows := make([][]cell, 0, len(page.Items))
			for _, b := range page.Items {
				rows = append(rows, append(plain(b.Name, b.Kind, b.Type, limitOf(b)), enabled(b),
					cell{text: fmt.Sprint(b.Rev)}, cell{text: relative(b.UpdatedAt, s.now())}))
			}
			err = s.out.table([]string{"BLUEPRINT", "KIND", "TYPE", "LIMIT", "ENABLED", "REV", "UPDATED"}, rows)
			s.more(page.Next)
			return err
		}),
	}
}

func blueprintDelete(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "remove a blueprint that has no resources", ArgsUsage: "NAME",
		Description: "Prints nothing with -o json, as the API does.",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			if err := s.DeleteBlueprint(ctx, name); err != nil || s.out.json {
				return err
			}
			return s.out.sayf("blueprint %s deleted", name)
		}),
	}
}
