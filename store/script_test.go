package store

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/redis/go-redis/v9"
)

var (
	luaComment = regexp.MustCompile(`--[^\n]*`)
	luaString  = regexp.MustCompile(`'[^'\n]*'`)
	luaShared  = regexp.MustCompile(`(?m)^local (?:function )?([A-Za-z_]+)`)
)

// sharedLua are the files that are parts of several scripts.
var sharedLua = []string{"head", "foot", "lib", "waiting", "places", "reply", "apply"}

// TestScriptsHaveWhatTheyUse: a script that uses what is in a file that was not put before it fails only when it gets there.
func TestScriptsHaveWhatTheyUse(t *testing.T) {
	t.Parallel()
	shared := map[string]bool{}
	for _, name := range sharedLua {
		text, err := os.ReadFile(filepath.Join("lua", name+".lua"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range luaShared.FindAllStringSubmatch(string(text), -1) {
			shared[m[1]] = true
		}
	}
	if len(shared) < 40 {
		t.Fatalf("only %d shared names were found", len(shared))
	}
	code := map[string]string{}
	for name, script := range scripts {
		var source sourceOf
		script.Eval(t.Context(), &source, nil)
		code[name] = luaString.ReplaceAllString(luaComment.ReplaceAllString(source.text, ""), "''")
	}
	for used := range shared {
		uses := regexp.MustCompile(`(^|[^.:\w])` + used + `\b`)
		// As a local, or as a parameter of the same name.
		has := regexp.MustCompile(`(?m)^\s*local (function )?([A-Za-z_, ]*, )?` + used + `\b|function[^\n(]*\([^)]*\b` + used + `\b`)
		for name, text := range code {
			if uses.MatchString(text) && !has.MatchString(text) {
				t.Errorf("%s uses %s and does not have it", name, used)
			}
		}
	}
}

// sourceOf is a client that keeps the text of the script that it is told to run.
type sourceOf struct {
	redis.Scripter

	text string
}

func (s *sourceOf) Eval(ctx context.Context, text string, _ []string, _ ...any) *redis.Cmd {
	s.text = text
	return redis.NewCmd(ctx)
}
