// Package examples holds working examples of blueprints, one file per kind, and the declarations that `drydock dev`
// starts with when it is given none.
package examples

import (
	"embed"
	"slices"
)

// Files are the examples.
//
//go:embed *.yaml
var Files embed.FS

// DefaultName is the name of the file that Default returns.
const DefaultName = "blueprints.yaml"

//go:embed blueprints.yaml
var defaultFile []byte

// Default returns the declarations that `drydock dev` starts with, as blueprints.Parse reads them.
func Default() []byte { return slices.Clone(defaultFile) }
