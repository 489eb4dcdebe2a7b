#!/usr/bin/env bash
# Runs every fuzz target for some seconds each (default 60). Needs a nightly toolchain and cargo-fuzz, and installs them.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]
#
# An input that breaks something is kept in fuzz/artifacts; put it into fuzz/corpus/TARGET or tests/data/hostile, where the
# ordinary tests replay it for ever (tests/hostile.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
[[ $seconds =~ ^[0-9]+$ ]] || { echo "fuzz: '$seconds' is no number of seconds; usage: scripts/fuzz.sh [SECONDS] [TARGET…]" >&2; exit 2; }

rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo +nightly fuzz list)

passed=0 failed=0
for target in "${targets[@]}"; do
  seeds="fuzz/seeds/$target"
  [ -d "$seeds" ] || seeds=""
  mkdir -p "fuzz/corpus/$target"
  echo "fuzz: $target, $seconds s"
  # shellcheck disable=SC2086
  if cargo +nightly fuzz run "$target" "fuzz/corpus/$target" $seeds -- \
    -max_total_time="$seconds" -timeout=1 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
((failed == 0))
