#!/usr/bin/env bash
# bench.sh BENCHSTAT BASE [COUNT [PATTERN]] runs the Go benchmarks of the commit BASE and of the working tree by turns, COUNT times each (default
# 6), and has benchstat compare them. PATTERN chooses benchmarks, as of `go test -bench` (default all).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
benchstat=$PWD/$1 base=$(git rev-parse --verify "$2^{commit}") count=${3:-6} pattern=${4:-.}
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$base"

# One round of a tree's benchmarks: run_in FOLDER FILE.
run_in() {
  (cd "$1" && go test -run '^$' -bench "$pattern" -benchmem -benchtime "${BENCHTIME:-1s}" ./...) | tee "$work/last" | grep -E '^(goos|goarch|pkg|cpu|Benchmark)' >>"$2" || true
  if grep -q '^FAIL' "$work/last"; then
    cat "$work/last" >&2
    exit 1
  fi
}
for ((round = 1; round <= count; round++)); do
  echo "round $round of $count" >&2
  run_in "$work/base" "$work/base.txt"
  run_in . "$work/new.txt"
done
(cd "$work" && "$benchstat" base="base.txt" new="new.txt")
