package handlers

import (
	"fmt"
	"testing"
	"time"

	"drydock/model"
)

func TestExhausted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	linux := model.Request{Attributes: map[string]string{"os": "linux", "arch": "arm"}}
	var e exhausted
	if e.holds(linux, 0, now) {
		t.Error("holds before anybody has looked")
	}
	e.note(linux, 7, now)
	for _, tt := range []struct {
		name  string
		req   model.Request
		freed int64
		at    time.Duration
		want  bool
	}{
		{"the same", linux, 7, 0, true},
		{"another lease that wants the same", model.Request{Lease: "l2", Attributes: map[string]string{"arch": "arm", "os": "linux"}}, 7, time.Second, true},
		{"something was freed", linux, 8, 0, false},
		{"the count went back", linux, 6, 0, false},
		{"long ago", linux, 7, sightingLasts, false},
		{"another wish", model.Request{}, 7, 0, false},
	} {
		if got := e.holds(tt.req, tt.freed, now.Add(tt.at)); got != tt.want {
			t.Errorf("%s: holds %t, want %t", tt.name, got, tt.want)
		}
	}
	for i := range maxSightings {
		e.note(model.Request{Attributes: map[string]string{"n": fmt.Sprint(i)}}, 7, now)
	}
	if len(e.seen) > maxSightings {
		t.Errorf("%d sightings are kept, want at most %d", len(e.seen), maxSightings)
	}
}
