#!/usr/bin/env bash
# The one test command. Installs what it needs (scripts/setup.sh), runs every check, and ends with one line:
#
#   N passed, M failed
#
# A step that counts its tests adds those; a step that does not (formatting, lints, …) counts as one. All steps run, also
# after a failure, except those that need a build that failed. Logs are in target/test-logs.
#
#   scripts/test.sh            everything
#   scripts/test.sh fmt unit   these steps only
#   COLCHIS_SKIP_SETUP=1       install nothing
set -uo pipefail
cd "$(dirname "$0")/.."

TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
LOGS="$TARGET/test-logs"
export PATH="$TARGET/tools/bin:$HOME/.cargo/bin:$PATH"
export CARGO_TERM_COLOR=never NO_COLOR=1
mkdir -p "$LOGS"
passed=0 failed=0
started=$SECONDS
wanted=("$@")

# Sums the counts that cargo, node and unittest print; empty if the log has none.
counts() {
  awk '
    /^test result:/            { p += $4; f += $6; seen = 1 }
    /^(#|ℹ) pass [0-9]+/       { p += $3; seen = 1 }
    /^(#|ℹ) fail [0-9]+/       { f += $3; seen = 1 }
    /^Ran [0-9]+ tests? in/    { p += $2; seen = 1 }
    /^FAILED \((failures|errors)/ { gsub(/[^0-9 ]/, " "); for (i = 1; i <= NF; i++) { f += $i; p -= $i } }
    END { if (seen) print p + 0, f + 0 }
  ' "$1"
}

# What failed, of a log that may be long: its failures wherever they are, and its end.
told() {
  printf -- '--- what failed, of %s\n' "$1"
  grep -nE -A 8 "panicked at|^not ok|^✖|^(FAIL|ERROR):|^error" "$1" | cut -c 1-300 | head -n 120
  printf -- '--- its end\n'
  tail -n 25 "$1" | cut -c 1-300
  printf -- '---\n'
}

# step NAME COMMAND…: runs, counts, tells. Returns the command's own status.
step() {
  local name=$1; shift
  if ((${#wanted[@]})) && [[ ! " ${wanted[*]} " == *" $name "* ]]; then return 0; fi
  local log="$LOGS/$name.log" start=$SECONDS status=0 p f
  printf '%-14s' "$name"
  "$@" >"$log" 2>&1 || status=$?
  read -r p f < <(counts "$log") || { p=0 f=0; }
  if ((status == 0)); then
    ((p + f)) || p=1
  elif ((f == 0)); then
    f=1
  fi
  passed=$((passed + p)) failed=$((failed + f))
  printf '%6d s  %5d passed  %3d failed\n' $((SECONDS - start)) "$p" "$f"
  ((status == 0)) || told "$log"
  return "$status"
}

docs() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items; }
deny() { cargo deny --locked check licenses bans sources; }
fuzz_check() { cargo check --manifest-path fuzz/Cargo.toml --target-dir "$TARGET"; }
browser() { (cd tests/browser && npm test --silent); }
interop() { tests/interop/run.sh; }
# What is done when a build failed: the steps that need it are failures, not silence.
no_build() { echo "not run: the build failed"; return 1; }

if [ -z "${COLCHIS_SKIP_SETUP:-}" ]; then
  step setup scripts/setup.sh || { printf '%d passed, %d failed\n' "$passed" "$failed"; exit 1; }
fi
step fmt cargo fmt --check
step clippy cargo clippy --locked --all-targets -- -D warnings
step docs docs
step deny deny
step unit cargo test --locked --no-fail-fast
step fuzz-check fuzz_check
step counts scripts/counts.sh
if step build cargo build --locked --release; then
  step browser browser
  step interop interop
else
  step browser no_build
  step interop no_build
fi

printf 'total %d s, logs in %s\n' $((SECONDS - started)) "$LOGS"
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
