package auth

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

var testNow = time.Date(2030, 1, 2, 15, 4, 5, 0, time.UTC)

// entryFor makes an entry and its token.
func entryFor(t testing.TB, name string, role Role, expiresAt time.Time, namespaces ...string) (token string, e Entry) {
	t.Helper()
	token, e, err := NewEntry(name, Grant{role, namespaces}, testNow, expiresAt)
	if err != nil {
		t.Fatal(err)
	}
	return token, e
}

func add(entries ...Entry) func([]Entry) ([]Entry, error) {
	return func(before []Entry) ([]Entry, error) { return append(before, entries...), nil }
}

func TestTokensAreLongRandomAndKnownByTheirLook(t *testing.T) {
	t.Parallel()
	one, other := NewToken(), NewToken()
	look := regexp.MustCompile(`^ddk_[0-9a-f]{64}$`)
	if !look.MatchString(one) || !look.MatchString(other) || one == other {
		t.Errorf("tokens %s and %s", one, other)
	}
}

func TestTokenOfTheFileLetsItsHolderIn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	ci, ciEntry := entryFor(t, "ci", RoleHolder, time.Time{}, "default", "lab")
	old, oldEntry := entryFor(t, "old", RoleAdmin, testNow.Add(time.Hour), AllNamespaces)
	if err := EditEntries(path, add(ciEntry, oldEntry)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := testNow
	f.now = func() time.Time { return now }
	id, err := f.Authenticate(t.Context(), ci)
	want := &Identity{Name: "ci", Kind: KindToken, ID: ciEntry.SHA256[:12], Grants: []Grant{{RoleHolder, []string{"default", "lab"}}}}
	if diff := cmp.Diff(want, id); diff != "" || err != nil {
		t.Errorf("ci (-want +got):\n%s%v", diff, err)
	}
	if id, err := f.Authenticate(t.Context(), old); err != nil || id.RoleEverywhere() != RoleAdmin {
		t.Errorf("old = %v, %v", id, err)
	}
	now = testNow.Add(time.Hour)
	if _, err := f.Authenticate(t.Context(), old); !errors.Is(err, errExpired) {
		t.Errorf("old at the end of its time: %v", err)
	}
	flipped := []byte(ci)
	flipped[len(flipped)-1] ^= 1
	for name, bad := range map[string]string{
		"another token": NewToken(), "one digit": string(flipped), "cut": ci[:len(ci)-1], "longer": ci + "0", "upper case": strings.ToUpper(ci),
		"the hash": TokenPrefix + ciEntry.SHA256, "nothing": "", "prefix": TokenPrefix, "name": "ci",
	} {
		if id, err := f.Authenticate(t.Context(), bad); !errors.Is(err, errUnknown) {
			t.Errorf("%s = %v, %v", name, id, err)
		}
	}
}

// TestHashOfAPasswordLetsNobodyIn: a plain hash is no protection for what people think of, so it must be a token of ours.
func TestHashOfAPasswordLetsNobodyIn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	password := TokenPrefix + "hunter2"
	hash := HashToken(password)
	_, e := entryFor(t, "ci", RoleViewer, time.Time{}, "default")
	e.SHA256 = hex.EncodeToString(hash[:])
	if err := EditEntries(path, add(e)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := f.Authenticate(t.Context(), password); !errors.Is(err, errUnknown) {
		t.Errorf("the password let in %v, %v", id, err)
	}
}

// TestFileHoldsNoToken: only the hash, whoever reads the file.
func TestFileHoldsNoToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, e := entryFor(t, "ci", RoleViewer, testNow, "default")
	if err := EditEntries(path, add(e)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := HashToken(token)
	if strings.Contains(string(text), token[len(TokenPrefix):]) || !strings.Contains(string(text), hex.EncodeToString(hash[:])) {
		t.Errorf("the file holds the token, or not its hash:\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestEditKeepsModeAndLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "link.yaml")
	if err := os.WriteFile(path, []byte("[]"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	_, e := entryFor(t, "ci", RoleViewer, time.Time{}, "default")
	if err := EditEntries(link, add(e)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode became %v, %v", info.Mode(), err)
	}
	if entries, err := ReadEntries(path); err != nil || len(entries) != 1 {
		t.Errorf("entries %v, %v", entries, err)
	}
}

func TestEditThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	const text = "[]  # mine"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	if err := EditEntries(path, func([]Entry) ([]Entry, error) { return nil, wrong }); !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
	if _, err := Revoke(path, "nobody"); model.KindOf(err) != model.ErrorNotFound {
		t.Errorf("revoke nobody: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the file became %q, %v", got, err)
	}
}

func TestEditsAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		_, e := entryFor(t, fmt.Sprintf("ci-%d", i), RoleViewer, time.Time{}, "default")
		wg.Go(func() {
			if err := EditEntries(path, add(e)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if entries, err := ReadEntries(path); err != nil || len(entries) != n {
		t.Errorf("%d entries, %v, want %d", len(entries), err, n)
	}
}

func TestRevokeByNameOrByID(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	_, a := entryFor(t, "ci", RoleViewer, time.Time{}, "default")
	_, b := entryFor(t, "ci", RoleViewer, time.Time{}, "default")
	_, c := entryFor(t, "ada", RoleViewer, time.Time{}, "default")
	if err := EditEntries(path, add(a, b, c)); err != nil {
		t.Fatal(err)
	}
	if gone, err := Revoke(path, b.ID()); err != nil || len(gone) != 1 || gone[0].SHA256 != b.SHA256 {
		t.Errorf("by id: %v, %v", gone, err)
	}
	if gone, err := Revoke(path, "ci"); err != nil || len(gone) != 1 || gone[0].SHA256 != a.SHA256 {
		t.Errorf("by name: %v, %v", gone, err)
	}
	if _, err := Revoke(path, "ada"); err != nil {
		t.Error(err)
	}
	if left, err := ReadEntries(path); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestBrokenFileKeepsTheTokens: somebody's slip of the pen locks nobody out, and nobody in.
func TestBrokenFileKeepsTheTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, e := entryFor(t, "ci", RoleViewer, time.Time{}, "default")
	if err := EditEntries(path, add(e)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"- name: ci", "{", "- name: ci\n  role: god\n  namespaces: ['*']\n  sha256: " + e.SHA256} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Reload(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("reload of %q: %v", text, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reload without a file: %v", err)
	}
	if id, err := f.Authenticate(t.Context(), token); err != nil || id.RoleIn("default") != RoleViewer {
		t.Errorf("after the broken files: %v, %v", id, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err != nil || f.Len() != 0 {
		t.Errorf("reload of an empty file: %v, %d tokens", err, f.Len())
	}
	if _, err := f.Authenticate(t.Context(), token); !errors.Is(err, errUnknown) {
		t.Errorf("after the token was removed: %v", err)
	}
}

func TestDecodeEntries(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0f", 32)
	other := strings.Repeat("f0", 32)
	entry := func(change string) string {
		return "- {name: ci, role: holder, namespaces: [default], sha256: " + hash + ", " + change + "}"
	}
	good := map[string]string{
		"YAML": "# mine\n- name: ci\n  sha256: " + hash + "\n  role: holder\n  namespaces: [default]\n  expires_at: 2030-01-02T15:04:05Z\n",
		"JSON": `[{"name": "ci", "sha256": "` + hash + `", "role": "holder", "namespaces": ["default"], "expires_at": "2030-01-02T15:04:05Z"}]`,
	}
	want := []Entry{{Name: "ci", SHA256: hash, Role: RoleHolder, Namespaces: []string{"default"}, ExpiresAt: testNow}}
	for name, text := range good {
		got, err := DecodeEntries([]byte(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got):\n%s%v", name, diff, err)
		}
	}
	bad := map[string][2]string{
		"not a list":      {"name: ci", "list"},
		"unknown field":   {entry("token: x"), "token"},
		"field twice":     {entry("name: ada"), "name"},
		"a time":          {entry("expires_at: soon"), "soon"},
		"a name":          {strings.ReplaceAll(entry("expires_at: null"), "ci", "'a:b'"), "name"},
		"our name":        {strings.ReplaceAll(entry("expires_at: null"), "ci", "drydock"), "drydock"},
		"nobody's name":   {strings.ReplaceAll(entry("expires_at: null"), "ci", "anonymous"), "anonymous"},
		"no name":         {strings.ReplaceAll(entry("expires_at: null"), "ci", "''"), "name"},
		"a role":          {strings.ReplaceAll(entry("expires_at: null"), "holder", "root"), "role"},
		"no namespaces":   {strings.ReplaceAll(entry("expires_at: null"), "default", ""), "namespaces"},
		"a namespace":     {strings.ReplaceAll(entry("expires_at: null"), "default", "'a*'"), "namespaces"},
		"hash of another": {strings.ReplaceAll(entry("expires_at: null"), hash, "0f0f"), "sha256"},
		"upper case":      {strings.ReplaceAll(entry("expires_at: null"), hash, strings.ToUpper(hash)), "sha256"},
		"same hash":       {entry("expires_at: null") + "\n" + entry("expires_at: null"), "token 2"},
		"second is wrong": {entry("expires_at: null") + "\n- {name: x, sha256: " + other + "}", "token 2"},
	}
	for name, test := range bad {
		got, err := DecodeEntries([]byte(test[0]))
		if got != nil || err == nil || !strings.Contains(err.Error(), test[1]) || model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("%s: %v, %v, want an error about %s", name, got, err, test[1])
		}
	}
}

func TestFileThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#\n", maxFile/2)+"#"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEntries(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v", err)
	}
}

func FuzzDecodeEntries(f *testing.F) {
	hash := strings.Repeat("0f", 32)
	for _, seed := range []string{
		"", "[]", "null", "{}", "- name: ci", "- &a [*a]", "- {name: ci, role: holder, namespaces: [default], sha256: " + hash + "}",
		`[{"name": "ci", "sha256": "` + hash + `", "role": "admin", "namespaces": ["*"], "expires_at": "2030-01-02T15:04:05Z"}]`,
		"- name: ci\n  sha256: 0x" + hash + "\n  role: 1\n  namespaces: default\n", "a: !!binary x", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := DecodeEntries(text)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("error %q of kind %s", err, model.KindOf(err))
			}
			return
		}
		for _, e := range entries {
			if err := e.check(); err != nil {
				t.Fatalf("took %+v: %v", e, err)
			}
		}
		again, err := encodeEntries(entries)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeEntries(again)
		if err != nil {
			t.Fatalf("what we wrote cannot be read: %v\n%s", err, again)
		}
		one, _ := json.Marshal(entries)
		other, _ := json.Marshal(back)
		if len(entries) > 0 && string(one) != string(other) {
			t.Fatalf("%s became %s", one, other)
		}
	})
}
