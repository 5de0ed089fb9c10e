package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package's folder, where go test runs.
const root = "../.."

// projectFiles lists the files that are, or are about to be, in the repository: tracked ones and new ones that are not ignored.
// The paths are relative to root, with slashes, sorted.
func projectFiles(t *testing.T) []string {
	t.Helper()
	// safe.directory: a checkout owned by another user (a container, a CI runner) is still ours to read.
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "-C", root,
		"ls-files", "-z", "--cached", "--others", "--exclude-standard")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("these tests ask git which files belong to the project: %v: %s", err, stderr.String())
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted but not committed yet, or a link
		}
		files = append(files, name)
	}
	if len(files) == 0 {
		t.Fatal("git lists no files")
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// goFile is what the tests need to know about one Go source file.
type goFile struct {
	name    string // relative to root
	imports []string
	doc     bool // has a package comment
}

// goPackages parses the project's Go files without their tests, for every platform and build tag, keyed by folder ("." is the top).
// A folder that holds only tests has an entry without files.
func goPackages(t *testing.T) map[string][]goFile {
	t.Helper()
	pkgs := map[string][]goFile{}
	for _, name := range projectFiles(t) {
		if path.Ext(name) != ".go" || invisibleToGo(name) {
			continue
		}
		dir := path.Dir(name)
		if strings.HasSuffix(name, "_test.go") {
			if _, ok := pkgs[dir]; !ok {
				pkgs[dir] = nil
			}
			continue
		}
		pkgs[dir] = append(pkgs[dir], parseGoFile(t, name))
	}
	return pkgs
}

func parseGoFile(t *testing.T, name string) goFile {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Fatalf("parse %s: %v", name, err)
	}
	return goFile{name: name, imports: importPaths(t, f), doc: f.Doc.Text() != ""}
}

func importPaths(t *testing.T, f *ast.File) []string {
	t.Helper()
	paths := make([]string, 0, len(f.Imports))
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("import %s: %v", spec.Path.Value, err)
		}
		paths = append(paths, p)
	}
	return paths
}

// invisibleToGo tells whether the go command skips the file: its name, or a folder on its way, is testdata or starts with "_" or ".".
func invisibleToGo(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == "testdata" || strings.HasPrefix(part, "_") || strings.HasPrefix(part, ".")
	})
}

// within tells whether p is base itself or lies below it.
func within(p, base string) bool {
	return p == base || strings.HasPrefix(p, base+"/")
}

// readFile reads a project file named relative to root.
func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
