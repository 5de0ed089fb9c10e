#!/usr/bin/env bash
# Tests the upgrade from another version to this one: builds the binary of the commit or tag that is given, and runs it beside the present one, under
# load (e2e/upgrade_test.go).
set -euo pipefail

if [ $# -ne 1 ] || [ -z "$1" ]; then
  echo 'usage: scripts/upgrade-test.sh <commit or tag of the old version>   (make upgrade FROM=<commit>)' >&2
  exit 2
fi
cd "$(dirname "$0")/.."
commit=$(git rev-parse --verify --quiet "$1^{commit}") || {
  echo "upgrade-test: there is no commit $1 here; is the history complete (git fetch --unshallow --tags)?" >&2
  exit 2
}

work=$(mktemp -d)
trap 'git worktree remove --force "$work/source" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/source" "$commit"
(cd "$work/source" && go build -ldflags "-X main.version=$1" -o "$work/drydock" ./cmd/drydock)
DRYDOCK_OLD_BINARY=$work/drydock go test -tags upgrade -count=1 -timeout 300s -v -run '^TestUpgrade$' ./e2e
