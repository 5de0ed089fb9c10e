//go:build unix

package torture

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var mutationsFlag = flag.Bool("mutations", false, "build drydock without one of its parts, for each of some, and see that the histories show it")

// mutations each take away something that Drydock rests on: in a file, texts are replaced.
var mutations = []struct {
	name, file string
	texts      []string // old, new, old, new, …
	faults     []Fault
	durability string // default memory
}{
	{
		"without the writer check", "store/lua/apply.lua",
		[]string{
			"if o.status == '' or o.writer ~= (first or step).writer then return 'stale' end",
			"if o.status == '' then return 'stale' end step.version = tonumber(o.version) step.from = o.status",
		},
		[]Fault{LoseLocks}, "",
	},
	{
		"a stale write is written", "store/lua/apply.lua",
		[]string{
			"if o.status == '' or o.writer ~= (first or step).writer then return 'stale' end",
			"if o.status == '' then return 'stale' end " +
				"if o.writer ~= (first or step).writer then step.version = tonumber(o.version) step.consume = nil local p = step.path or {} return 'ok', p[#p] or o.status, 0 end",
		},
		[]Fault{LoseLocks}, "",
	},
	{
		"the first write takes the pen without comparing what was read", "store/lua/apply.lua",
		[]string{
			"if o.status == '' or o.writer ~= (first or step).writer then return 'stale' end",
			"if o.status == '' or not first and o.writer ~= step.writer then return 'stale' end " +
				"if first then step.version = tonumber(o.version) step.from = o.status end",
		},
		[]Fault{LoseLocks}, "",
	},
	{
		"the fence stands still", "store/update.go",
		[]string{`strconv.FormatInt(fence+1, 10)`, `strconv.FormatInt(fence, 10)`},
		[]Fault{KillWorker, Hooks}, "",
	},
	{
		"a command sent again under its key is another one", "store/lua/send.lua",
		[]string{"if known.fingerprint ~= '' then", "if false then"},
		[]Fault{Drop, KillReply}, "",
	},
	{
		"a command whose reply was lost is stored twice", "store/lua/send.lua",
		[]string{
			"if redis.call('HEXISTS', KEYS[1] .. ':records', cid) == 1 then", "if false then",
			"if known.fingerprint ~= '' then", "if known.fingerprint ~= '' and known.id ~= cid then",
		},
		[]Fault{Drop}, "",
	},
	{
		"out of the wake index when the pen is taken", "store/lua/apply.lua",
		[]string{"redis.call('ZADD', P .. 'wake', VISIBLE_AT, member)", "redis.call('ZREM', P .. 'wake', member)"},
		[]Fault{KillWorker, LoseTasks}, "",
	},
	{
		"without the sweeper", "handlers/sweeper.go",
		[]string{"err := s.Sweep(ctx, ns)", "_, err := ns, error(nil)"},
		[]Fault{LoseTasks}, "",
	},
	{
		"without the wait for a replica", "store/durability.go",
		[]string{"if level == Memory {", "if true {"},
		[]Fault{FailOverBehind}, "replicas:1",
	},
}

// TestTortureFindsWhatIsTakenAway: a history must show it when Drydock lacks one of its parts.
func TestTortureFindsWhatIsTakenAway(t *testing.T) {
	t.Parallel()
	if !*mutationsFlag {
		t.Skip("takes minutes; make torture/mutations runs it")
	}
	const rounds = 5
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			dir := mutant(t, m.file, m.texts)
			for n := range uint64(rounds) {
				report, err := try(t, dir, 1+n, m.faults, m.durability, 8*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if len(report.Violations) > 0 {
					t.Logf("seed %d shows %d violations, such as %s", 1+n, len(report.Violations), strings.SplitN(report.Violations[0].String(), "\n", 2)[0])
					return
				}
			}
			t.Errorf("%d histories show nothing", rounds)
		})
	}
}

// TestMutationsFit: the texts that mutations replace are there.
func TestMutationsFit(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		source, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(m.texts); i += 2 {
			if strings.Count(string(source), m.texts[i]) != 1 {
				t.Errorf("%s: %q is not in %s once", m.name, m.texts[i], m.file)
			}
		}
	}
}

// mutant builds drydock with a file changed.
func mutant(t *testing.T, file string, texts []string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	source, err := filepath.Abs(filepath.Join("..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	changed, overlay := filepath.Join(dir, "changed"), filepath.Join(dir, "overlay.json")
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{changed: strings.NewReplacer(texts...).Replace(string(text)), overlay: string(replaced)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := build(dir, "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return dir
}
