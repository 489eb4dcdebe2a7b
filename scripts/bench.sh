#!/usr/bin/env bash
# Runs the benches one after another, pinned to one core so that they do not move about. Read the ratios: a virtual
# machine's nanoseconds are not another machine's.
#
#   scripts/bench.sh [FILTER]
set -euo pipefail
cd "$(dirname "$0")/.."
core=$(($(nproc) - 1))
grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'
benches=(--bench wire --bench srtp --bench media --bench shard --bench udp)
cargo bench --locked "${benches[@]}" --no-run
exec taskset -c "$core" cargo bench --locked "${benches[@]}" -- "$@"
