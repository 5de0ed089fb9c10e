package auth

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"drydock/model"
)

// FuzzParseGrant: a grant is written as it was read, and gives a role that there is.
func FuzzParseGrant(f *testing.F) {
	for _, seed := range []string{"", "ops=operator@default", "a=b=holder@ci+x", "=viewer@*", "ops=root@*", "ops=viewer", "ops=viewer@", "ops=viewer@a+", "ops=viewer@A", "ops=admin@*+ci", "\x1b=viewer@*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		group, g, err := ParseGrant(text)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid || strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 500 {
				t.Errorf("%q: the error %q of kind %s", text, err, model.KindOf(err))
			}
			return
		}
		if group == "" || group+"="+string(g.Role)+"@"+strings.Join(g.Namespaces, "+") != text || g.check() != nil {
			t.Errorf("%q is read as %q, %+v", text, group, g)
		}
		who := &Identity{Grants: []Grant{g}}
		for _, ns := range g.Namespaces {
			if ns != AllNamespaces && who.RoleIn(ns) != g.Role {
				t.Errorf("%q gives %q in %s", text, who.RoleIn(ns), ns)
			}
		}
	})
}

// FuzzClaims: whatever claims a good JWT has, nobody gets in without a name that can stand in a history, and nobody gets what no grant gives.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub": "ada", "groups": ["ops"]}`, `{"sub": "ada", "groups": "ops"}`, `{"sub": 1}`, `{"sub": ""}`, `{"sub": "a\u0000"}`, `{"sub": " ada"}`, `{"sub": "drydock"}`,
		`{"sub": "ada", "realm": {"groups": ["ops", 1, null]}}`, `{"email": "a@b", "email_verified": false}`, `{"email": "a@b", "email_verified": "true"}`, `{"realm.groups": ["ops"], "sub": "a"}`, `null`,
	} {
		f.Add([]byte(seed), "sub", "groups", "")
		f.Add([]byte(seed), "email", "realm.groups", "oidc:")
	}
	grants := map[string][]Grant{"ops": {{RoleOperator, []string{"ci"}}}}
	f.Fuzz(func(t *testing.T, raw []byte, nameClaim, rolesClaim, prefix string) {
		var claims map[string]any
		if json.Unmarshal(raw, &claims) != nil {
			return
		}
		i := &Issuer{cfg: IssuerConfig{NameClaim: nameClaim, RolesClaim: rolesClaim, NamePrefix: prefix, Grants: grants}}
		id, err := i.identity(claims)
		if err != nil {
			if model.KindOf(err) != model.ErrorUnauthenticated || id != nil {
				t.Errorf("%s: %+v, %v", raw, id, err)
			}
			return
		}
		if checkName(id.Name) != nil || !strings.HasPrefix(id.Name, prefix) || nameClaim == "email" && claims["email_verified"] != nil && claims["email_verified"] != true {
			t.Errorf("%s lets %q in", raw, id.Name)
		}
		if role := id.RoleIn("ci"); role != "" && (role != RoleOperator || !strings.Contains(string(raw), "ops") && !strings.Contains(string(raw), `\u`)) || id.RoleIn("default") != "" {
			t.Errorf("%s makes %q %s", raw, id.Name, role)
		}
	})
}
