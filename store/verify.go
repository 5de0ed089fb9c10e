package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"drydock/model"
)

// Verify checks what must hold of a namespace at any time, from nothing but what Redis holds, and returns a sentence for each
// breach. It reads key by key: on a live system an object may move between two reads, so a breach counts only when it is
// there twice. It looks at every object: it is for tests and for people, not for a path that is often taken.
func (s *Store) Verify(ctx context.Context, ns string) ([]string, error) {
	v, err := s.verify(ctx, ns)
	if err != nil {
		return nil, err
	}
	return v.problems, nil
}

func (s *Store) verify(ctx context.Context, ns string) (*verifier, error) {
	v := &verifier{ns: ns, status: map[string]string{}, slots: map[string][]string{}, sets: map[string]bool{}, unknown: map[model.Ref]string{}}
	var err error
	read := func(members map[string]float64, e error) map[string]float64 {
		if err == nil {
			err = e
		}
		return members
	}
	v.wake = read(s.scores(ctx, wakeKey(ns)))
	v.collectable = read(s.scores(ctx, collectableKey(ns)))
	for _, k := range model.Kinds() {
		for id := range read(s.scores(ctx, pluralKey(ns, k))) {
			if err != nil {
				return nil, err
			}
			if e := s.verifyObject(ctx, v, model.Ref{Namespace: ns, Kind: k, ID: id}); e != nil {
				return nil, e
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for _, member := range v.onDestroyed {
		if st := v.status[member]; st == string(model.LeaseActive) || st == string(model.LeaseAcquired) {
			v.breachf("%s is %s on a destroyed resource", member, st)
		}
	}
	if err := s.verifyIndexes(ctx, v); err != nil {
		return nil, err
	}
	if err := s.verifySlots(ctx, v); err != nil {
		return nil, err
	}
	if err := s.verifySets(ctx, v); err != nil {
		return nil, err
	}
	slices.Sort(v.problems)
	return v, nil
}

type verifier struct {
	ns   string
	wake map[string]float64
	// collectable holds the objects that the janitor will delete.
	collectable map[string]float64
	problems    []string
	// status holds the state of each object, by member.
	status map[string]string
	// slots holds the slot keys that live objects say they hold, by owner.
	slots map[string][]string
	// sets is what the indexes of blueprints must hold by what the objects say: "<rest of the key> <member>".
	sets map[string]bool
	// onDestroyed are the leases that have a place on a destroyed resource: its grace has elapsed while they cleaned up.
	onDestroyed []string
	// unwoken owe an update and are not in wake.
	unwoken []model.Ref
	// unknown are the objects of an unknown schema version, by that.
	unknown map[model.Ref]string
}

func (v *verifier) breachf(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (s *Store) scores(ctx context.Context, key string) (map[string]float64, error) {
	members, err := s.rdb.ZRangeWithScores(ctx, key, 0, -1).Result()
	if err != nil {
		return nil, translate("verify", err)
	}
	out := make(map[string]float64, len(members))
	for _, z := range members {
		out[toString(z.Member)] = z.Score
	}
	return out, nil
}

func (s *Store) verifyObject(ctx context.Context, v *verifier, ref model.Ref) error {
	pipe := s.rdb.Pipeline()
	fields := pipe.HGetAll(ctx, objectKey(ref))
	waiting := pipe.LRange(ctx, commandsKey(ref), 0, -1)
	history := pipe.LRange(ctx, historyKey(ref), 0, -1)
	records := pipe.HGetAll(ctx, recordsKey(ref))
	leases := pipe.ZRange(ctx, resourceLeasesKey(ref.Namespace, ref.ID), 0, -1)
	if err := exec(ctx, "verify", pipe); err != nil {
		return err
	}
	f, name := fields.Val(), ref.Member()
	if f["status"] == "" {
		v.breachf("%s is indexed and does not exist", name)
		return nil
	}
	v.status[name] = f["status"]
	if checkSchema(f) != nil {
		v.unknown[ref] = f["schema"]
	}
	v.verifyCommands(name, f, waiting.Val(), history.Val(), records.Val())
	_, inWake := v.wake[name]
	destroyed := f["status"] == string(model.LeaseDestroyed)
	if _, collectable := v.collectable[name]; collectable != destroyed {
		v.breachf("%s is %s and collectable: %t", name, f["status"], collectable)
	}
	if destroyed {
		if len(waiting.Val()) > 0 {
			v.breachf("%s is destroyed and has %d waiting commands", name, len(waiting.Val()))
		}
		for _, id := range leases.Val() {
			v.onDestroyed = append(v.onDestroyed, "lease:"+id)
		}
		return nil
	}
	owes := len(waiting.Val()) > 0 || isWoken(f["woken"]) || f["status"] == "released" || f["status"] == "broken" ||
		f["status"] == "acquired" || f["status"] == "pending" || parseMillis(f["until"]).Unix() > 0 && f["until"] != "0"
	if owes && !inWake {
		v.unwoken = append(v.unwoken, ref)
		v.breachf("%s owes an update (status %s, %d commands, woken %q, until %q) and is not in wake",
			name, f["status"], len(waiting.Val()), f["woken"], f["until"])
	}
	v.slots[name] = decodeList(f["slots"])
	if ref.Kind == model.KindResource {
		capacity, _ := strconv.Atoi(f["capacity"])
		if len(leases.Val()) > capacity {
			v.breachf("%s has %d leases and a capacity of %d", name, len(leases.Val()), capacity)
		}
		v.expectResource(f, len(leases.Val()))
		return nil
	}
	v.expectLease(f)
	return s.verifyPlace(ctx, v, name, f)
}

// verifyPlace checks that a lease that says it is on a resource has its place there.
func (s *Store) verifyPlace(ctx context.Context, v *verifier, name string, f map[string]string) error {
	if f["resource"] == "" {
		return nil
	}
	_, err := s.rdb.ZScore(ctx, resourceLeasesKey(v.ns, f["resource"]), f["id"]).Result()
	if err != nil {
		v.breachf("%s (%s) is on resource %s and has no place there", name, f["status"], f["resource"])
	}
	return nil
}

func (v *verifier) verifyCommands(name string, f map[string]string, waiting, history []string, records map[string]string) {
	seen := map[string]bool{}
	for _, cid := range slices.Concat(history, waiting) {
		if seen[cid] {
			v.breachf("%s: command %s stands in its lists twice", name, cid)
		}
		seen[cid] = true
		if records[cid] == "" {
			v.breachf("%s: command %s has no record", name, cid)
		}
	}
	sent := 0
	for field := range records {
		if !strings.HasSuffix(field, ":outcome") {
			sent++
		}
	}
	if sent != len(seen) {
		v.breachf("%s: %d commands were stored and %d are in its lists", name, sent, len(seen))
	}
	for _, cid := range history {
		if records[cid+":outcome"] == "" {
			v.breachf("%s: command %s was consumed without an outcome", name, cid)
		}
	}
	applied := 0
	for field, record := range records {
		cid, ok := strings.CutSuffix(field, ":outcome")
		if !ok {
			continue
		}
		if slices.Contains(waiting, cid) {
			v.breachf("%s: command %s has an outcome and still waits", name, cid)
		}
		c, err := decodeCommand(model.Ref{}, cid, records[cid], record)
		if err != nil {
			v.breachf("%s: %s", name, err)
			continue
		}
		if c.Outcome == model.OutcomeApplied && takesBack(c.Name) {
			applied++
		}
	}
	if applied > 2 || applied > 1 && f["status"] != "destroyed" {
		v.breachf("%s: %d release commands were applied", name, applied)
	}
	releases, _ := strconv.Atoi(f["releases"])
	want := 0
	for _, cid := range waiting {
		if c, err := decodeCommand(model.Ref{}, cid, records[cid], ""); err == nil && takesBack(c.Name) {
			want++
		}
	}
	if releases != want {
		v.breachf("%s counts %d waiting releases and has %d", name, releases, want)
	}
}

// verifyIndexes checks that each object is in the index of its state and in no other.
func (s *Store) verifyIndexes(ctx context.Context, v *verifier) error {
	check := func(k model.Kind, status string) error {
		indexed, err := s.scores(ctx, statusKey(v.ns, k, status))
		if err != nil {
			return err
		}
		for id := range indexed {
			if got := v.status[string(k)+":"+id]; got != status {
				v.breachf("%s:%s is %q and stands in the index of %q", k, id, got, status)
			}
		}
		for member, got := range v.status {
			id, ok := strings.CutPrefix(member, string(k)+":")
			if !ok || got != status {
				continue
			}
			if _, ok := indexed[id]; !ok {
				v.breachf("%s is %s and not in that index", member, status)
			}
		}
		return nil
	}
	for _, st := range model.LeaseStates() {
		if err := check(model.KindLease, string(st)); err != nil {
			return err
		}
	}
	for _, st := range model.ResourceStates() {
		if err := check(model.KindResource, string(st)); err != nil {
			return err
		}
	}
	return nil
}

// verifySlots checks that slot locks and the objects that hold them agree, both ways.
func (s *Store) verifySlots(ctx context.Context, v *verifier) error {
	held := map[string]string{}
	scan := s.rdb.Scan(ctx, 0, slotKey(v.ns, "*"), 1000).Iterator()
	for scan.Next(ctx) {
		key := strings.TrimPrefix(scan.Val(), slotKey(v.ns, ""))
		owner, err := s.rdb.Get(ctx, scan.Val()).Result()
		if err != nil {
			continue
		}
		held[key] = owner
		if !slices.Contains(v.slots[owner], key) {
			v.breachf("slot %s is held by %s (%s), which does not say so", key, owner, v.status[owner])
		}
	}
	if err := scan.Err(); err != nil {
		return translate("verify", err)
	}
	for member, keys := range v.slots {
		for _, key := range keys {
			if held[key] != member {
				v.breachf("%s says it holds slot %s, which is held by %q", member, key, held[key])
			}
		}
	}
	return nil
}

// expectResource notes in which indexes of its blueprint a resource must be.
func (v *verifier) expectResource(f map[string]string, leases int) {
	prefix := f["blueprint"] + ":"
	switch {
	case f["status"] == string(model.ResourceActive) && f["paused"] != "1" && !positive(f["releases"]) && leases == 0:
		v.sets[prefix+"idle "+f["id"]] = true
	case f["status"] == string(model.ResourcePending) && f["for_lease"] == "":
		v.sets[prefix+"making "+f["id"]] = true
	}
}

// expectLease notes on which blueprint a lease must count for its owner's quota, and at which gates it must stand.
func (v *verifier) expectLease(f map[string]string) {
	for _, blueprint := range []string{f["blueprint"], f["reserved"]} {
		if blueprint != "" {
			v.sets[blueprint+":held:"+f["owner"]+" "+f["id"]] = true
		}
	}
	for _, blueprint := range decodeList(f["gates"]) {
		v.sets[blueprint+":gate:"+f["owner"]+" "+f["id"]] = true
		if f["status"] != string(model.LeasePending) {
			v.breachf("lease:%s is %s and waits at the gate of %s", f["id"], f["status"], blueprint)
		}
	}
}

// verifySets checks that the indexes of blueprints hold what the objects say, no more and no less.
func (s *Store) verifySets(ctx context.Context, v *verifier) error {
	base := prefix(v.ns) + "blueprint:"
	scan := s.rdb.Scan(ctx, 0, base+"*", 1000).Iterator()
	for scan.Next(ctx) {
		rest := strings.TrimPrefix(scan.Val(), base)
		_, what, _ := strings.Cut(rest, ":")
		what, _, _ = strings.Cut(what, ":")
		var members []string
		var err error
		switch what {
		case "idle", "making", "held":
			members, err = s.rdb.SMembers(ctx, scan.Val()).Result()
		case "gate":
			members, err = s.rdb.ZRange(ctx, scan.Val(), 0, -1).Result()
		default:
			continue
		}
		if err != nil {
			return translate("verify", err)
		}
		for _, m := range members {
			if key := rest + " " + m; v.sets[key] {
				delete(v.sets, key)
			} else {
				v.breachf("%s stands in blueprint:%s and should not", m, rest)
			}
		}
	}
	if err := scan.Err(); err != nil {
		return translate("verify", err)
	}
	for key := range v.sets {
		v.breachf("blueprint:%s is missing", key)
	}
	return nil
}
