package handlers

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// rules are what a blueprint's declaration promises to keep.
type rules struct {
	Limit     int             `json:"limit"`
	MinIdle   int             `json:"min_idle"`
	Quota     int             `json:"quota"`
	Authorize model.Authorize `json:"authorize"`
}

// census is how much of everything there is at one instant, counted from the objects themselves and not from the indexes that the
// scripts decide by.
type census struct {
	rules map[string]rules
	// live, idle and making count resources by blueprint; making only those that are to be kept idle.
	live, idle, making map[string]int
	// held counts leases that have a place by "<blueprint> <owner>".
	held map[string]int
	// load and capacity are by resource; closed are those that may not be given to anybody.
	load, capacity map[string]int
	closed         map[string]bool
	// approved has "<blueprint> <owner>" where an operator said so.
	approved map[string]bool
}

// censusScript reads all of a namespace at one instant.
//
//nolint:dupword // Lua closes its blocks one by one
var censusScript = redis.NewScript(`
local P = KEYS[1]
local resources, leases, said = {}, {}, {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'resources', 0, -1)) do
  local r = redis.call('HMGET', P .. 'resource:' .. id, 'blueprint', 'status', 'paused', 'releases', 'for_lease', 'capacity')
  if r[2] ~= 'destroyed' then
    resources[#resources + 1] = {id, r[1], r[2], r[3] or '', r[4] or '', r[5] or '', r[6], redis.call('ZCARD', P .. 'resource:' .. id .. ':leases')}
  end
end
for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  local l = redis.call('HMGET', P .. 'lease:' .. id, 'blueprint', 'owner', 'resource', 'status')
  if l[4] ~= 'destroyed' and l[3] and l[3] ~= '' and redis.call('ZSCORE', P .. 'resource:' .. l[3] .. ':leases', id) then
    leases[#leases + 1] = {l[1], l[2] or ''}
  end
end
local blueprints = redis.call('HGETALL', P .. 'blueprints')
for i = 1, #blueprints, 2 do
  local records = redis.call('HGETALL', P .. 'blueprint:' .. blueprints[i] .. ':authorizations')
  for j = 1, #records, 2 do
    if cjson.decode(records[j + 1]).status == 'approved' then said[#said + 1] = blueprints[i] .. ' ' .. records[j] end
  end
end
return {blueprints, resources, leases, said}
`)

func readCensus(reply []any) (census, error) {
	c := census{
		rules: map[string]rules{}, live: map[string]int{}, idle: map[string]int{}, making: map[string]int{}, held: map[string]int{},
		load: map[string]int{}, capacity: map[string]int{}, closed: map[string]bool{}, approved: map[string]bool{},
	}
	list := func(v any) []any { l, _ := v.([]any); return l }
	text := func(v any) string { return fmt.Sprint(v) }
	number := func(v any) int { n, _ := strconv.Atoi(text(v)); return n }
	blueprints := list(reply[0])
	for i := 0; i+1 < len(blueprints); i += 2 {
		var r rules
		if err := json.Unmarshal([]byte(text(blueprints[i+1])), &r); err != nil {
			return c, fmt.Errorf("blueprint %v: %w", blueprints[i], err)
		}
		c.rules[text(blueprints[i])] = r
	}
	for _, item := range list(reply[1]) {
		r := list(item)
		id, blueprint, status, load := text(r[0]), text(r[1]), text(r[2]), number(r[7])
		usable := status == "active" && text(r[3]) != "1" && number(r[4]) == 0
		c.live[blueprint]++
		c.load[id], c.capacity[id], c.closed[id] = load, number(r[6]), !usable
		if usable && load == 0 {
			c.idle[blueprint]++
		}
		if status == "pending" && text(r[5]) == "" {
			c.making[blueprint]++
		}
	}
	for _, item := range list(reply[2]) {
		l := list(item)
		c.held[text(l[0])+" "+text(l[1])]++
	}
	for _, v := range list(reply[3]) {
		c.approved[text(v)] = true
	}
	return c, nil
}

// exceeds says which limit the one write between two censuses exceeded; empty = none. A limit that is lowered below what is there
// ends nothing, so only what grew counts.
func (c census) exceeds(before census) string {
	for bp, n := range c.live {
		if limit := c.rules[bp].Limit; limit > 0 && n > limit && n > before.live[bp] {
			return fmt.Sprintf("%s has %d resources, its limit is %d", bp, n, limit)
		}
		if n := c.making[bp]; n > before.making[bp] && c.idle[bp]+n > c.rules[bp].MinIdle {
			return fmt.Sprintf("%s makes a spare, and has %d idle and %d being made, min_idle is %d", bp, c.idle[bp], n, c.rules[bp].MinIdle)
		}
	}
	for id, n := range c.load {
		switch {
		case n <= before.load[id]:
		case n > c.capacity[id]:
			return fmt.Sprintf("resource %s has %d leases, its capacity is %d", id, n, c.capacity[id])
		case c.closed[id]:
			return fmt.Sprintf("resource %s was leased, and is not active, paused or about to be released", id)
		}
	}
	for key, n := range c.held {
		bp, owner, _ := strings.Cut(key, " ")
		switch r := c.rules[bp]; {
		case n <= before.held[key]:
		case r.Quota > 0 && n > r.Quota:
			return fmt.Sprintf("owner %q has %d leases on %s, the quota is %d", owner, n, bp, r.Quota)
		case r.Authorize.Request && !c.approved[key]:
			return fmt.Sprintf("owner %q got a lease on %s without an approval", owner, bp)
		}
	}
	return ""
}
