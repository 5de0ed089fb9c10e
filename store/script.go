package store

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Every script is one file in lua/, put behind the shared head.lua and those of lib.lua, waiting.lua, places.lua, reply.lua and
// apply.lua that it needs: Redis sets all of a script up with each call. Each file's head says what it does, its keys, its arguments, its
// answers and what it derives.
var (
	//go:embed lua/head.lua
	headSource string
	//go:embed lua/foot.lua
	footSource string
	//go:embed lua/lib.lua
	libSource string
	//go:embed lua/waiting.lua
	waitingSource string
	//go:embed lua/places.lua
	placesSource string
	//go:embed lua/reply.lua
	replySource string
	//go:embed lua/apply.lua
	applySource string
	//go:embed lua/finish.lua
	finishSource string
	//go:embed lua/create_lease.lua
	createLeaseSource string
	//go:embed lua/create_resource.lua
	createResourceSource string
	//go:embed lua/send.lua
	sendSource string
	//go:embed lua/claim.lua
	claimSource string
	//go:embed lua/touch.lua
	touchSource string
	//go:embed lua/busy.lua
	busySource string
	//go:embed lua/due.lua
	dueSource string
	//go:embed lua/apply_lease.lua
	applyLeaseSource string
	//go:embed lua/apply_resource.lua
	applyResourceSource string
	//go:embed lua/apply_blueprint.lua
	applyBlueprintSource string
	//go:embed lua/tell_resources.lua
	tellResourcesSource string
	//go:embed lua/put_blueprint.lua
	putBlueprintSource string
	//go:embed lua/wake_waiters.lua
	wakeWaitersSource string
	//go:embed lua/delete_blueprint.lua
	deleteBlueprintSource string
	//go:embed lua/admit.lua
	admitSource string
	//go:embed lua/authorize.lua
	authorizeSource string
	//go:embed lua/collect.lua
	collectSource string
	//go:embed lua/sample_usage.lua
	sampleUsageSource string
	//go:embed lua/set_data.lua
	setDataSource string
	//go:embed lua/save_answer.lua
	saveAnswerSource string
	//go:embed lua/plan.lua
	planSource string
	//go:embed lua/rewake.lua
	rewakeSource string
	//go:embed lua/snapshot.lua
	snapshotSource string
	//go:embed lua/put_subscription.lua
	putSubscriptionSource string
	//go:embed lua/delete_subscription.lua
	deleteSubscriptionSource string
	//go:embed lua/claim_subscription.lua
	claimSubscriptionSource string
	//go:embed lua/step_subscription.lua
	stepSubscriptionSource string
	//go:embed lua/retry_dead_letters.lua
	retryDeadLettersSource string
)

var (
	createLeaseScript        = script(waitingSource, replySource, createLeaseSource)
	createResourceScript     = script(leaseTransitions(), waitingSource, placesSource, applySource, createResourceSource)
	sendScript               = script(placesSource, replySource, sendSource)
	claimScript              = script(claimSource)
	touchScript              = script(touchSource)
	busyScript               = script(busySource)
	dueScript                = script(dueSource)
	finishScript             = script(finishSource)
	applyLeaseScript         = script(leaseTransitions(), waitingSource, placesSource, applySource, applyLeaseSource)
	applyResourceScript      = script(resourceTransitions(), waitingSource, placesSource, applySource, applyResourceSource)
	applyBlueprintScript     = script("local TRANSITIONS = {}\n", waitingSource, placesSource, applySource, applyBlueprintSource)
	tellResourcesScript      = script(tellResourcesSource)
	putBlueprintScript       = script(waitingSource, putBlueprintSource)
	wakeWaitersScript        = script(waitingSource, wakeWaitersSource)
	deleteBlueprintScript    = script(waitingSource, deleteBlueprintSource)
	admitScript              = script(waitingSource, admitSource)
	authorizeScript          = script(waitingSource, authorizeSource)
	saveAnswerScript         = script(saveAnswerSource)
	planScript               = script(planSource)
	rewakeScript             = script(rewakeSource)
	snapshotScript           = script(waitingSource, snapshotSource)
	putSubscriptionScript    = script(putSubscriptionSource)
	deleteSubscriptionScript = script(deleteSubscriptionSource)
	claimSubscriptionScript  = script(claimSubscriptionSource)
	stepSubscriptionScript   = script(stepSubscriptionSource)
	retryDeadLettersScript   = script(retryDeadLettersSource)
	collectScript            = script(collectSource)
	sampleUsageScript        = script(sampleUsageSource)
	setDataScript            = script(setDataSource)
)

// script makes a script of the parts that it needs and of what it does, which is the last.
func script(parts ...string) *redis.Script {
	last := len(parts) - 1
	return newScript(libSource+strings.Join(parts[:last], ""), parts[last])
}

func newScript(parts, body string) *redis.Script {
	made := redis.NewScript(headSource + parts + "local function answer()\n" + body + "end\n" + footSource)
	merges.Store(made.Hash(), true)
	return made
}

// leaseTransitions writes the model's table in Lua, so that the guard inside the write is the same as the one in Go.
func leaseTransitions() string { return transitions(model.LeaseStates(), model.LeaseState.Next) }

func resourceTransitions() string {
	return transitions(model.ResourceStates(), model.ResourceState.Next)
}

func transitions[S ~string](states []S, next func(S) []S) string {
	var b strings.Builder
	b.WriteString("local TRANSITIONS = {\n")
	for _, from := range states {
		fmt.Fprintf(&b, "  %s = {", from)
		for i, to := range next(from) {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s = true", to)
		}
		b.WriteString("},\n")
	}
	b.WriteString("}\n")
	return b.String()
}
