#!/usr/bin/env bash
# Counts the instructions of the hot path under valgrind (benches/counts) and fails where a count is above its ceiling.
# Installs the runner once, into the build folder.
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
RUNNER_VERSION=0.20.0
# Where the counts of the last run are kept, to be compared with.
export GUNGRAUN_HOME="$TARGET/gungraun"
export PATH="$TARGET/tools/bin:$HOME/.cargo/bin:$PATH"

command -v valgrind >/dev/null || { echo "counts: valgrind is missing; cure: apt-get install valgrind" >&2; exit 1; }
if ! gungraun-runner --version 2>/dev/null | grep -qF "$RUNNER_VERSION"; then
  cargo install --quiet --locked --root "$TARGET/tools" "gungraun-runner@$RUNNER_VERSION"
fi
cargo bench --locked --manifest-path benches/counts/Cargo.toml --target-dir "$TARGET" "$@"
