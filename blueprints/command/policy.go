package command

import (
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"drydock/model"
)

// Policy says which programs blueprints may name. Whoever may declare a blueprint that runs commands may run them as the
// worker's user; the policy is the operator's way to narrow that down. The zero value allows every program.
type Policy struct {
	// Off refuses every command.
	Off bool
	// Folders, when there are any, are the only folders whose programs may be named, by absolute path.
	Folders []string
}

// Limits on a command line.
const (
	maxArguments      = 64
	maxArgumentLength = 4096
)

// Check checks a command line. Errors are [model.ErrorInvalid] and name the field.
func (p Policy) Check(field string, argv []string) error {
	switch {
	case p.Off:
		return model.Invalid(field, "commands are switched off on this server")
	case len(argv) == 0 || argv[0] == "":
		return model.Invalid(field, "must be a list that begins with the program")
	case len(argv) > maxArguments:
		return model.Invalid(field, "must have at most %d entries", maxArguments)
	}
	for _, arg := range argv {
		if len(arg) > maxArgumentLength || strings.ContainsRune(arg, 0) || !utf8.ValidString(arg) {
			return model.Invalid(field, "each entry must be text of at most %d bytes without NUL", maxArgumentLength)
		}
	}
	if len(p.Folders) > 0 && !slices.ContainsFunc(p.Folders, func(dir string) bool { return inside(dir, argv[0]) }) {
		return model.Invalid(field, "must begin with the absolute path of a program in %s", model.Join(p.Folders))
	}
	return nil
}

// inside reports whether an absolute path lies below dir.
func inside(dir, path string) bool {
	if !filepath.IsAbs(path) {
		return false
	}
	rel, err := filepath.Rel(dir, filepath.Clean(path))
	return err == nil && rel != "." && filepath.IsLocal(rel)
}
