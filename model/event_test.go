package model

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestEventTypesListsThemAll reads the constants in the source: a new one must not be missing.
func TestEventTypesListsThemAll(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"log.go", "event.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "EventType" {
				return true
			}
			value, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if value != string(EventGap) && !slices.Contains(EventTypes(), EventType(value)) {
				t.Errorf("EventTypes lacks %s", spec.Names[0].Name)
			}
			return true
		})
	}
}

func TestEventFilter(t *testing.T) {
	t.Parallel()
	e := &Event{Object: LeaseRef("ns", "l1"), Event: EventReleased, Status: "released"}
	for name, tc := range map[string]struct {
		filter EventFilter
		want   bool
	}{
		"empty":        {EventFilter{}, true},
		"all":          {EventFilter{Types: []Kind{KindLease}, Object: "l1", Events: []EventType{EventSent, EventReleased}, Status: []string{"released"}}, true},
		"other type":   {EventFilter{Types: []Kind{KindResource}}, false},
		"other object": {EventFilter{Object: "l2"}, false},
		"other event":  {EventFilter{Events: []EventType{EventSent}}, false},
		"other status": {EventFilter{Status: []string{"active"}}, false},
	} {
		if got := tc.filter.Matches(e); got != tc.want {
			t.Errorf("%s: Matches = %t", name, got)
		}
		if !tc.filter.Matches(&Event{Event: EventGap}) {
			t.Errorf("%s: a gap does not pass", name)
		}
	}
}

func TestSubscriptionCheck(t *testing.T) {
	t.Parallel()
	for field, breakIt := range map[string]func(*Subscription){
		"name":          func(s *Subscription) { s.Name = "A" },
		"secret":        func(s *Subscription) { s.Secret = "short" },
		"tries":         func(s *Subscription) { s.Tries = 51 },
		"filter.types":  func(s *Subscription) { s.Filter.Types = []Kind{"blueprint"} },
		"filter.events": func(s *Subscription) { s.Filter.Events = []EventType{"realesed"} },
		"filter.status": func(s *Subscription) { s.Filter.Status = []string{"gone"} },
	} {
		s := &Subscription{Name: "s", Secret: "sixteen bytes or more", Tries: 1}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		breakIt(s)
		err, ok := errors.AsType[*Error](s.Check())
		if !ok || err.Field != field || err.Kind != ErrorInvalid {
			t.Errorf("%s: Check = %v", field, err)
		}
	}
}
