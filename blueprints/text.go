package blueprints

import (
	"strings"
	"unicode"
)

// Printable makes what a program said fit for a log or an error: valid UTF-8 without control characters, other than line
// ends and tabs, and without blanks around it.
func Printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == unicode.ReplacementChar, unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

// PrintableWithout is [Printable] with an ellipsis in the place of a secret. Only what is going to be shown tells whether the secret is in
// it: before, characters that nobody sees may part it.
func PrintableWithout(secret, s string) string {
	s = Printable(s)
	for _, shown := range []string{secret, Printable(secret)} {
		if shown != "" {
			s = strings.ReplaceAll(s, shown, "…")
		}
	}
	return s
}
