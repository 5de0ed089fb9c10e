#!/bin/sh
# A hook for the blueprint in ../exec.yaml: each resource is a folder, and each lease gets a file with its owner's name in
# it. It shows what a hook has to do: find its orders in the environment, do nothing the second time, say "not yet" with
# exit code 75, and answer in JSON.
set -eu

root=${SCRATCH_ROOT:?}
folder=$root/$DRYDOCK_NAMESPACE/$DRYDOCK_RESOURCE_NAME

case $DRYDOCK_STEP in
activate)
	# mkdir -p succeeds when the folder is there: a second attempt, after a crash, is as good as the first.
	mkdir -p "$folder"
	free=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
	if [ "$free" -lt 1024 ]; then
		echo '{"retry_after": "1m", "reason": "the disk is full"}'
		exit 75
	fi
	printf '{"attributes": {"path": "%s"}}\n' "$folder"
	;;
activate_lease)
	# A target that remembers the highest fence refuses what an older attempt still sends.
	last=$(cat "$folder/.fence" 2>/dev/null || echo 0)
	if [ "$DRYDOCK_FENCE" -lt "$last" ]; then
		echo "fence $DRYDOCK_FENCE is older than $last" >&2
		exit 1
	fi
	echo "$DRYDOCK_FENCE" >"$folder/.fence"
	printf '%s\n' "$DRYDOCK_LEASE_OWNER" >"$folder/owner"
	;;
destroy_lease)
	rm -f "$folder/owner" "$folder/.fence"
	;;
destroy)
	rm -rf "$folder"
	;;
*)
	echo "no such step: $DRYDOCK_STEP" >&2
	exit 64
	;;
esac
