#!/usr/bin/env bash
# Checks the model of the protocol, proof/protocol.pml, with spin: the protocol holds under each group of faults, and fails with each
# mutation. It takes some minutes and up to 5 GB of memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in spin gcc; do
  command -v "$tool" >/dev/null || { echo "model: $tool is missing (Debian: apt-get install spin gcc)" >&2; exit 1; }
done
model=$PWD/proof/protocol.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run DEFINES…: prints "holds", "fails", or why it cannot tell.
run() {
  (
    cd "$work"
    rm -f pan*
    spin "$@" -a "$model" >/dev/null
    gcc -O2 -w -DSAFETY -DNOCLAIM -DCOLLAPSE -DVECTORSZ=1024 -DMEMLIM=5000 -o pan pan.c
    ./pan -m1000000 >out 2>&1 || true
    if grep -q 'MEMLIM\|max search depth too small\|memory exceeded' out; then
      echo "out of bounds"
    elif grep -q 'errors: 0$' out; then
      echo holds
    else
      echo fails
    fi
  )
}

bad=0
check() {
  local want=$1 what=$2 got
  shift 2
  got=$(run "$@")
  printf '%-70s %s\n' "$what" "$got"
  [[ $got == "$want" ]] || bad=1
}

none=(-DCRASHES=0 -DEXPIRIES=0 -DLOSSES=0 -DDOUBLES=0 -DRESENDS=0)
check holds "no faults" "${none[@]}"
check holds "no faults, no lock" "${none[@]}" -DNO_LOCK
check holds "crashes, locks that expire" -DLOSSES=0 -DDOUBLES=0 -DRESENDS=0
check holds "tasks lost and doubled" -DCRASHES=0 -DEXPIRIES=0 -DRESENDS=0
check holds "locks that expire, replies lost" -DCRASHES=0 -DLOSSES=0 -DDOUBLES=0
check holds "a failover that forgets, locks that expire (one sender)" -DFAILOVERS=1 -DSENDERS=1 -DCRASHES=0 -DLOSSES=0 -DDOUBLES=0 -DRESENDS=0
check fails "without the writer check" -DMUTATE_NO_WRITER
check fails "without the version check" -DMUTATE_NO_VERSION
check fails "popped before it is applied" -DMUTATE_POP_EARLY
check fails "finished without another look at the queue" -DMUTATE_NO_LOOK
check fails "out of the wake index at the claim" -DMUTATE_LEAVE_WAKE
check fails "the fence compared instead of the writer, with a failover" -DMUTATE_FENCE_ONLY -DFAILOVERS=1 -DCRASHES=0 -DLOSSES=0 -DDOUBLES=0 -DRESENDS=0
if ((bad)); then
  echo "model: not as expected" >&2
  exit 1
fi
