package examples_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drydock/blueprints"
	"drydock/blueprints/exec"
	"drydock/blueprints/git"
	"drydock/blueprints/pool"
	"drydock/blueprints/webhook"
	"drydock/examples"
	"drydock/model"
)

func kinds() []blueprints.Kind {
	return []blueprints.Kind{pool.Kind{}, exec.Kind{}, webhook.Kind{}, git.Kind{}}
}

func parse(t *testing.T, name string) []*model.Blueprint {
	t.Helper()
	data, err := fs.ReadFile(examples.Files, name)
	if err != nil {
		t.Fatal(err)
	}
	bps, err := blueprints.Parse(name, data, blueprints.NewRegistry(kinds()...))
	if err != nil {
		t.Fatal(err)
	}
	return bps
}

func TestEveryExampleParses(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(examples.Files, "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("examples = %q, %v", names, err)
	}
	for _, name := range names {
		if len(parse(t, name)) == 0 {
			t.Errorf("%s declares nothing", name)
		}
	}
}

func TestEveryKindHasAnExampleThatItsPageShows(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		for _, bp := range parse(t, kind.Name()+".yaml") {
			if bp.Kind != kind.Name() {
				t.Errorf("%s.yaml declares a blueprint of kind %s", kind.Name(), bp.Kind)
			}
		}
		example, err := fs.ReadFile(examples.Files, kind.Name()+".yaml")
		if err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(filepath.Join("..", "docs", "blueprints", kind.Name()+".md"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```yaml\n"+string(example)+"```\n") {
			t.Errorf("docs/blueprints/%s.md does not show examples/%s.yaml as it is", kind.Name(), kind.Name())
		}
	}
}

// TestWhatStandsOnAnotherFindsItInTheSameFile: the example of copies on hosts is whole, and its page shows it.
func TestWhatStandsOnAnotherFindsItInTheSameFile(t *testing.T) {
	t.Parallel()
	const name = "git-on-hosts.yaml"
	bps := parse(t, name)
	registry := blueprints.NewRegistry(kinds()...)
	standing := 0
	for _, bp := range bps {
		if bp.On == nil {
			continue
		}
		standing++
		ask := bp.On.NewLease(bp.Name)
		found := false
		for _, other := range bps {
			ok, _ := registry.CanServe(other, model.Request{Type: ask.Type, Attributes: ask.Attributes})
			found = found || ok && other.Type == ask.Type
		}
		if !found {
			t.Errorf("%s asks for %+v, which nothing in the file can serve", bp.Name, *bp.On)
		}
	}
	if standing == 0 {
		t.Error("nothing stands on anything")
	}
	example, err := fs.ReadFile(examples.Files, name)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "blueprints", "composition.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```yaml\n"+string(example)+"```\n") {
		t.Errorf("docs/blueprints/composition.md does not show examples/%s as it is", name)
	}
}

func TestTheDefaultIsALabOfFourHosts(t *testing.T) {
	t.Parallel()
	bps, err := blueprints.Parse(examples.DefaultName, examples.Default(), blueprints.NewRegistry(pool.Kind{}))
	if err != nil || len(bps) != 1 || bps[0].Name != "lab" || bps[0].Type != "host" || !bps[0].Enabled {
		t.Fatalf("Parse = %v, %v", bps, err)
	}
	bp, err := pool.Kind{}.Open(bps[0])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for offer := range bp.Offers(model.Request{}) {
		names = append(names, offer.Name)
	}
	if got := strings.Join(names, " "); got != "h1 h2 h3 h4" {
		t.Errorf("hosts = %s", got)
	}
	if ok, reason := bp.CanServe(model.Request{Attributes: map[string]string{"os": "macos"}}); !ok {
		t.Error(reason)
	}
}
