package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"drydock/model"
)

func TestRolesIncludeThoseBeforeThem(t *testing.T) {
	t.Parallel()
	for i, mine := range Roles() {
		for j, asked := range Roles() {
			if got := mine.Includes(asked); got != (i >= j) {
				t.Errorf("%s.Includes(%s) = %t", mine, asked, got)
			}
		}
		if mine.Includes("") || mine.Includes("root") || Role("").Includes(mine) || Role("root").Includes(mine) {
			t.Errorf("%s and an unknown role include one another", mine)
		}
	}
	if Role("").Includes("") {
		t.Error("no role includes no role")
	}
}

func TestHighestRoleCounts(t *testing.T) {
	t.Parallel()
	id := Identity{Grants: []Grant{
		{RoleViewer, []string{AllNamespaces}}, {RoleAdmin, []string{"lab"}}, {RoleHolder, []string{"ci", "lab"}},
	}}
	for ns, want := range map[string]Role{"lab": RoleAdmin, "ci": RoleHolder, "other": RoleViewer} {
		if got := id.RoleIn(ns); got != want {
			t.Errorf("RoleIn(%s) = %q, want %q", ns, got, want)
		}
	}
	if got := id.RoleEverywhere(); got != RoleViewer {
		t.Errorf("RoleEverywhere() = %q", got)
	}
	id.Grants = id.Grants[1:]
	if in, everywhere := id.RoleIn("other"), id.RoleEverywhere(); in != "" || everywhere != "" {
		t.Errorf("without a grant for all: %q in another namespace, %q everywhere", in, everywhere)
	}
}

// stub is an Authenticator that says its name.
type stub string

func (s stub) Authenticate(context.Context, string) (*Identity, error) {
	return &Identity{Name: string(s)}, nil
}

func TestCredentialsGoTheWayTheyBelong(t *testing.T) {
	t.Parallel()
	both := Authenticators{Tokens: stub("tokens"), JWTs: stub("jwts")}
	for credential, want := range map[string]string{"ddk_x": "tokens", "a.b.c": "jwts", "": "jwts"} {
		if id, err := both.Authenticate(t.Context(), credential); err != nil || id.Name != want {
			t.Errorf("%q went to %v, %v; want %s", credential, id, err, want)
		}
	}
	for credential, a := range map[string]Authenticator{"ddk_x": Authenticators{JWTs: stub("")}, "a.b.c": Authenticators{Tokens: stub("")}} {
		if _, err := a.Authenticate(t.Context(), credential); !errors.Is(err, errUnknown) {
			t.Errorf("%q where it has no way in: %v", credential, err)
		}
	}
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"Bearer ddk_1":           "ddk_1",
		"bearer   a.b-c_d~e+f/=": "a.b-c_d~e+f/=",
		"BEARER x ":              "x",
		"Basic Y2k6ZGRrXzE=":     "ddk_1", // ci:ddk_1
		"basic OmRka18x":         "ddk_1", // :ddk_1
	}
	for header, want := range good {
		if got, err := ParseHeader([]string{header}); err != nil || got != want {
			t.Errorf("ParseHeader(%q) = %q, %v, want %q", header, got, err, want)
		}
	}
	if got, err := ParseHeader(nil); got != "" || err != nil {
		t.Errorf("without a header: %q, %v", got, err)
	}
	bad := map[string][]string{
		"empty":           {""},
		"no scheme":       {"secret-1"},
		"no token":        {"Bearer"},
		"blank token":     {"Bearer  "},
		"only padding":    {"Bearer =="},
		"two words":       {"Bearer secret-1 secret-2"},
		"another scheme":  {"Digest secret-1"},
		"umlaut":          {"Bearer secret-ä"},
		"tab":             {"Bearer\tsecret-1"},
		"twice":           {"Bearer secret-1", "Bearer secret-1"},
		"too long":        {"Bearer " + strings.Repeat("secret-1", 1<<12)},
		"Basic, not 64":   {"Basic secret-1"},
		"Basic, no colon": {"Basic c2VjcmV0LTE="},
		"Basic, no pass":  {"Basic Y2k6"},
		"Basic, control":  {"Basic Y2k6CgoK"},
	}
	for name, values := range bad {
		got, err := ParseHeader(values)
		if got != "" || model.KindOf(err) != model.ErrorUnauthenticated {
			t.Errorf("%s: %q, %v", name, got, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the header: %v", name, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, seed := range []string{"", "Bearer ddk_1", "Bearer a.b.c=", "Basic Y2k6ZGRrXzE=", "Basic Og==", "Digest x", "Bearer a b", "basic \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := ParseHeader([]string{header})
		if (err == nil) != (got != "") {
			t.Fatalf("ParseHeader(%q) = %q, %v: want one of the two", header, got, err)
		}
		if err != nil {
			return
		}
		if len(got) > maxCredential {
			t.Fatalf("a credential of %d bytes", len(got))
		}
		if again, err := ParseHeader([]string{"Bearer " + got}); err != nil || again != got {
			t.Fatalf("the credential %q of %q comes back as %q, %v", got, header, again, err)
		}
	})
}
