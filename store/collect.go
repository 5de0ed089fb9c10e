package store

import (
	"context"
	"time"
)

// collectBatch bounds what one script deletes, so that it does not hold up everybody else.
const collectBatch = 100

// Collect deletes all that is left of the objects that were destroyed longer than retention ago, at most a hundred of them: records,
// commands, logs, notes and index entries. It returns how many it deleted and how many are left whose time has come. An object that
// is not destroyed is never touched. It may run in several processes at once.
func (s *Store) Collect(ctx context.Context, ns string, retention time.Duration) (collected int, left int64, err error) {
	reply, err := s.run(ctx, "collect", collectScript, []string{collectableKey(ns)}, retention.Milliseconds(), collectBatch, schemaVersion)
	if err != nil {
		return 0, 0, err
	}
	return int(toInt(reply[0])), toInt(reply[1]), nil
}
