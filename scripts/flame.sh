#!/usr/bin/env bash
# Draws where the shard's time goes under one load of benches/throughput: a flame graph as SVG. Root, two cores.
# Installs the renderer once, into the build folder.
#
#   scripts/flame.sh OUT.svg                      the first load of the list
#   scripts/flame.sh OUT.svg "1→100, 125 packets/s"
#   scripts/flame.sh OUT.svg "1→100, 125 packets/s" /path/to/colchis    another build of the server
#   FLAME_MIN_PERCENT=0.1 scripts/flame.sh …      also functions with less of the time than 0.4 % (a larger file)
set -euo pipefail
die() { printf 'flame: %s\n' "$*" >&2; exit 1; }
(($# >= 1 && $# <= 3)) || die "usage: scripts/flame.sh OUT.svg [load name [server]]"
OUT=$(realpath -m "$1")
LOAD=${2:-1→32, trains of 8}
SERVER=${3:+$(realpath "$3")}
cd "$(dirname "$0")/.."

TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
INFERNO_VERSION=0.12.8
export PATH="$TARGET/tools/bin:$HOME/.cargo/bin:$PATH"

[ "$(id -u)" -eq 0 ] || die "network namespaces and kernel stacks need root"
command -v perf >/dev/null || die "perf is missing; cure: apt-get install linux-perf"
# It does not tell its version; cargo does.
if ! cargo install --list --root "$TARGET/tools" | grep -qxF "inferno v$INFERNO_VERSION:"; then
  cargo install --quiet --locked --root "$TARGET/tools" "inferno@$INFERNO_VERSION"
fi

STACKS=$(mktemp)
trap 'rm -f "$STACKS" "$STACKS.folded"' EXIT
cargo bench --locked --bench throughput -- --only "$LOAD" --profile "$STACKS" ${SERVER:+--server "$SERVER"}
[ -s "$STACKS" ] || die "no samples; what the bench said is above"
inferno-collapse-perf "$STACKS" >"$STACKS.folded"
# Stacks are copied up to some depth only, so they begin at different frames. All are of the executor: that is the ground.
sed -E -i 's/^([^;]+);.*(glommio::executor::LocalExecutor::run;)/\1;\2/' "$STACKS.folded"
inferno-flamegraph --title "$LOAD" --subtitle "CPU time of the shard's thread, kernel included" \
  --countname samples --minwidth "${FLAME_MIN_PERCENT:-0.4}" --hash "$STACKS.folded" >"$OUT"
printf 'flame: %s, %d KB\n' "$OUT" $(($(stat -c %s "$OUT") / 1024))
