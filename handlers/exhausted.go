package handlers

import (
	"encoding/json"
	"sync"
	"time"

	"drydock/model"
)

// exhausted remembers for which requests a blueprint had nothing to offer because others held the slot locks of all it could make. That
// holds until somebody frees a slot lock, which the namespace counts: in a pool whose hosts are all made, a lease need not look at the locks
// of ten thousand hosts to learn so.
type exhausted struct {
	mu   sync.Mutex
	seen map[string]sighting
}

type sighting struct {
	freed int64
	at    time.Time
}

const (
	// sightingLasts bounds how long a sighting is trusted: a Redis that lost its last writes may count the same number twice.
	sightingLasts = 10 * time.Second
	// maxSightings bounds how many requests are remembered.
	maxSightings = 1000
)

// note says that there was nothing, when so many slot locks had been freed.
func (e *exhausted) note(req model.Request, freed int64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil || len(e.seen) >= maxSightings {
		e.seen = make(map[string]sighting)
	}
	e.seen[wants(req)] = sighting{freed, now}
}

// holds reports whether there is still nothing.
func (e *exhausted) holds(req model.Request, freed int64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.seen[wants(req)]
	return ok && s.freed == freed && now.Sub(s.at) < sightingLasts
}

// wants is what offers depend on.
func wants(req model.Request) string {
	text, err := json.Marshal(req.Attributes)
	if err != nil {
		return ""
	}
	return string(text)
}
