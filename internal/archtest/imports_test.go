package archtest

import (
	"slices"
	"strings"
	"testing"
)

const module = "drydock"

// everything in a row lets that package import all others, except those that are for tests.
const everything = "*"

// ourImports is the table of DESIGN, section 5: which of our packages a package may import outside its tests. Arrows go one way;
// api, handlers and store meet in model. A new package gets a row; a row that grows is a decision to be argued for in review.
var ourImports = map[string][]string{
	"model":                  {},
	"store":                  {"model", "tracing"},
	"locks":                  {"model"},
	"tasks":                  {"model"},
	"blueprints":             {"model"},
	"blueprints/command":     {"blueprints", "model", "tracing"},
	"blueprints/conformance": {"blueprints", "model"},
	"blueprints/exec":        {"blueprints", "blueprints/command", "blueprints/hook", "model"},
	"blueprints/git":         {"blueprints", "blueprints/command", "model"},
	"blueprints/hook":        {"blueprints", "model"},
	"blueprints/pool":        {"blueprints", "blueprints/command", "model"},
	"blueprints/webhook":     {"blueprints", "blueprints/hook", "model", "outbound", "tracing"},
	"handlers":               {"model", "store", "locks", "tasks", "blueprints", "metrics", "tracing"},
	"tracing":                {},
	"metrics":                {"model", "store", "tasks"},
	"outbound":               {"model"},
	"deliver":                {"api/wire", "model", "store", "locks", "metrics", "outbound"},
	"api":                    {"api/wire", "auth", "model", "store", "tasks", "outbound", "tracing"},
	"api/wire":               {"model"},
	"client":                 {"api/wire", "model"},
	"asynqmon":               {},
	"auth":                   {"model"},
	"bench":                  {"api/wire", "blueprints", "blueprints/pool", "client", "embedded", "handlers", "locks", "model", "store", "tasks"},
	"console":                {"api/wire", "auth", "client", "model"},
	"embedded":               {},
	"embedded/redistest":     {"embedded"},
	"e2e":                    {everything},
	"examples":               {},
	"proof":                  {},
	"proof/torture":          {"embedded", "embedded/redistest", "internal/relay", "proof/torture/target"},
	"proof/torture/hook":     {"proof/torture/target"},
	"proof/torture/target":   {},
	"cmd":                    {everything},
	"internal":               {everything},
}

// familyRows are the rows that hold for every package below them too; every other row holds for its one package.
var familyRows = []string{"cmd", "internal"}

// forTests are packages, with all below them, that no shipped code may import.
var forTests = []string{"blueprints/conformance", "e2e", "embedded/redistest", "internal", "proof"}

// theirImports says which of our packages, with all below them, may import a module that we keep behind a wall. Tests and the
// packages in forTests are free.
var theirImports = map[string][]string{
	"github.com/redis/go-redis/v9":     {"store", "locks", "tasks", "embedded", "bench", "cmd"},
	"github.com/go-redsync/redsync/v4": {"store", "locks", "embedded", "bench", "cmd"},
	"github.com/hibiken/asynq":         {"handlers", "tasks", "bench", "cmd", "asynqmon"},
	"github.com/hibiken/asynqmon":      {"asynqmon"},
	"github.com/labstack/echo/v4":      {"api", "asynqmon", "cmd"},
	"github.com/alicebob/miniredis/v2": {"embedded"},
	"github.com/urfave/cli/v3":         {"cmd"},
	"github.com/coreos/go-oidc/v3":     {"auth"},
	"golang.org/x/oauth2":              {"auth"},
	"github.com/creack/pty":            {}, // for tests
	"github.com/chromedp":              {}, // for tests
	"go.opentelemetry.io/otel":         {"tracing"},

	"github.com/santhosh-tekuri/jsonschema/v6": {}, // for tests
	"k8s.io": {}, // for tests
}

func TestImportsOfOurPackagesFollowTheTable(t *testing.T) {
	t.Parallel()
	for dir, files := range goPackages(t) {
		allowed, ok := rowFor(dir)
		if !ok {
			t.Errorf("package %s has no row in ourImports (internal/archtest/imports_test.go): add one that says what it may import", dir)
			continue
		}
		for _, f := range files {
			for _, imp := range f.imports {
				target, ours := strings.CutPrefix(imp, module+"/")
				if !ours {
					continue
				}
				switch {
				case inAny(target, forTests) && !inAny(dir, forTests):
					t.Errorf("%s imports %s, which is for tests only", f.name, target)
				case !slices.Contains(allowed, target) && !slices.Contains(allowed, everything):
					t.Errorf("%s imports %s; package %s may import %q of ours", f.name, target, dir, allowed)
				}
			}
		}
	}
}

func TestWalledModulesStayBehindTheirWalls(t *testing.T) {
	t.Parallel()
	for dir, files := range goPackages(t) {
		if inAny(dir, forTests) {
			continue
		}
		for _, f := range files {
			for _, imp := range f.imports {
				for mod, allowed := range theirImports {
					if within(imp, mod) && !inAny(dir, allowed) {
						t.Errorf("%s imports %s; only %q may", f.name, imp, allowed)
					}
				}
			}
		}
	}
}

func TestOurTableHasNoCycle(t *testing.T) {
	t.Parallel()
	// Go refuses cycles that exist; this refuses a table that allows one.
	var visit func(pkg string, path []string)
	visit = func(pkg string, path []string) {
		if slices.Contains(path, pkg) {
			t.Fatalf("the table allows a cycle: %s", strings.Join(append(path, pkg), " -> "))
		}
		for _, next := range ourImports[pkg] {
			if next != everything {
				visit(next, append(path, pkg))
			}
		}
	}
	for pkg := range ourImports {
		visit(pkg, nil)
	}
}

func TestEveryPackageHasOnePackageComment(t *testing.T) {
	t.Parallel()
	for dir, files := range goPackages(t) {
		if len(files) == 0 {
			continue // tests only
		}
		var with []string
		for _, f := range files {
			if f.doc {
				with = append(with, f.name)
			}
		}
		if len(with) != 1 {
			t.Errorf("package %s has %d package comments %q, want exactly one (in doc.go when it is long)", dir, len(with), with)
		}
	}
}

// rowFor finds the row of ourImports that holds for the package in dir.
func rowFor(dir string) ([]string, bool) {
	if row, ok := ourImports[dir]; ok {
		return row, true
	}
	for _, family := range familyRows {
		if within(dir, family) {
			return ourImports[family], true
		}
	}
	return nil, false
}

// inAny tells whether dir is one of the bases or lies below one.
func inAny(dir string, bases []string) bool {
	return slices.ContainsFunc(bases, func(base string) bool { return within(dir, base) })
}
