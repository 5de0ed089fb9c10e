package git

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"drydock/model"
)

// The attributes of a lease that say what to check out: at most one of them.
const (
	attributeBranch = "branch"
	attributeCommit = "commit"
	attributeRef    = "ref"
)

// target is what to check out; the zero value is the repository's default branch.
type target struct{ branch, commit, ref string }

var commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)

// targetOf reads what a lease wants. The reason is empty when that can be checked out, as far as one can tell without
// looking.
func targetOf(attributes map[string]string) (t target, reason string) {
	t = target{branch: attributes[attributeBranch], commit: attributes[attributeCommit], ref: attributes[attributeRef]}
	given := 0
	for _, name := range []string{attributeBranch, attributeCommit, attributeRef} {
		if value, ok := attributes[name]; ok {
			given++
			if value == "" {
				return t, name + " must not be empty"
			}
		}
	}
	switch {
	case given > 1:
		return t, "give at most one of branch, commit and ref"
	case t.commit != "" && !commitPattern.MatchString(t.commit):
		return t, "commit must be all 40 digits of a commit, in lower case"
	case t.branch != "" && !validBranch(t.branch):
		return t, model.Quote(t.branch) + " is not the name of a branch"
	case t.ref != "" && (!strings.HasPrefix(t.ref, "refs/") || !validRef(t.ref)):
		return t, model.Quote(t.ref) + ` is not the full name of a ref, such as "refs/tags/v1"`
	}
	return t, ""
}

func validBranch(name string) bool {
	return validRef("refs/heads/"+name) && name[0] != '-' && name != "HEAD" && name != "@"
}

// validRef applies the rules of git-check-ref-format, so that a name is never more than a name: not an option, not a
// pattern, not a revision expression, not a path out of .git.
func validRef(ref string) bool {
	if len(ref) > model.MaxAttributeLength || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.HasSuffix(ref, ".") {
		return false
	}
	for _, r := range ref {
		if unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar || strings.ContainsRune(`~^:?*[\`, r) {
			return false
		}
	}
	for part := range strings.SplitSeq(ref, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

const maxURLLength = 1000

// scpPattern is git's short form for ssh, "user@host:path".
var scpPattern = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:[^-:]`)

// checkURL checks the address of a repository. git itself would take more: commands of remote helpers ("ext::sh -c …"), and
// hosts and paths that ssh takes for options.
func checkURL(field, text string, protocols []string) error {
	bad := func() error {
		return model.Invalid(field, "must be a URL (%s), user@host:path, or an absolute path", strings.Join(protocols, ", "))
	}
	switch {
	case text == "":
		return model.Invalid(field, "is required")
	case len(text) > maxURLLength:
		return model.Invalid(field, "must not be longer than %d bytes", maxURLLength)
	case text[0] == '-' || strings.Contains(text, "::") ||
		strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return bad()
	}
	protocol := ""
	switch {
	case strings.Contains(text, "://"):
		u, err := url.Parse(text)
		if err != nil || u.Fragment != "" || u.Opaque != "" || strings.HasPrefix(u.Host, "-") || (u.Host == "") != (u.Scheme == "file") {
			return bad()
		}
		if u.User != nil {
			if _, password := u.User.Password(); password || u.Scheme != "ssh" || strings.HasPrefix(u.User.Username(), "-") {
				return model.Invalid(field, "must not hold a password or token: blueprints can be read; give the worker's user a credential helper")
			}
		}
		protocol = u.Scheme
	case text[0] == '/':
		protocol = "file"
	case scpPattern.MatchString(text):
		protocol = "ssh"
	}
	if protocol == "" {
		return bad()
	}
	if !slices.Contains(protocols, protocol) {
		return model.Invalid(field, "%s is not among the protocols that this server allows: %s", model.Quote(protocol), strings.Join(protocols, ", "))
	}
	return nil
}
