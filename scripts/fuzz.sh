#!/usr/bin/env bash
# fuzz.sh [DURATION] runs every fuzz target for that long (default 10s), one after the other, and fails when any of them fails. What made one
# fail is written to testdata/fuzz/ beside it, where every `go test` runs it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzztime=${1:-10s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Lines of "package target".
if ! listed=$(go test -list '^Fuzz' ./...); then
  printf '%s\n' "$listed" >&2
  exit 1
fi
targets=$(awk '/^Fuzz/ { names[n++] = $1; next } { if ($1 == "ok") for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' <<<"$listed")
count=$(grep -c . <<<"$targets") || { echo "found no fuzz target" >&2; exit 1; }
echo "$count targets, $fuzztime each"

failed=() built=
while read -r package target; do
  if [[ $package != "$built" ]]; then
    rm -f "$work/test"
    go test -c -fuzz=. -o "$work/test" "$package" # -fuzz builds what guides the fuzzing in
    folder=$(go list -f '{{.Dir}}' "$package")
    built=$package
  fi
  printf '%-28s %-26s ' "$package" "$target"
  # The cache is the one of `go test -fuzz`: what one run has learnt helps the next.
  if (cd "$folder" && "$work/test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$fuzztime" \
    -test.fuzzcachedir="$(go env GOCACHE)/fuzz/$package") >"$work/log" 2>&1 </dev/null; then
    echo "ok, $(grep -o 'execs: [0-9]*' "$work/log" | tail -1)"
  else
    echo FAILED
    sed 's/^/  /' "$work/log"
    failed+=("$package $target")
  fi
done <<<"$targets"
if ((${#failed[@]})); then
  printf 'failed:\n' >&2
  printf '  %s\n' "${failed[@]}" >&2
  exit 1
fi
