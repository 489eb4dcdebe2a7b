#!/usr/bin/env bash
# Installs what the tests need on a fresh Debian 12. Safe to run again: what is there is left alone, and then it takes a
# second. scripts/test.sh calls it; `COLCHIS_SKIP_SETUP=1 scripts/test.sh` does not.
set -euo pipefail
cd "$(dirname "$0")/.."

RUST_VERSION=1.95.0
CARGO_DENY_VERSION=0.20.2
TOOLS="${CARGO_TARGET_DIR:-$PWD/target}/tools"
# Tools of the administrator are not on everybody's path.
export PATH="$TOOLS/bin:$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Command that must be there, and the Debian package it comes from.
packages() {
  cat <<'LIST'
cc            build-essential
make          build-essential
curl          curl
git           git
python3       python3
node          nodejs
npm           npm
chromium      chromium
firefox-esr   firefox-esr
setpriv       util-linux
prlimit       util-linux
taskset       util-linux
ip            iproute2
ethtool       ethtool
tshark        tshark
turnserver    coturn
valgrind      valgrind
protoc        protobuf-compiler
LIST
}

install_packages() {
  local missing=()
  while read -r command package; do
    command -v "$command" >/dev/null 2>&1 || missing+=("$package")
  done < <(packages)
  # A virtual environment needs ensurepip, which Debian keeps in a package of its own.
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  # The types that protobuf files import are in a package of their own.
  [ -e /usr/include/google/protobuf/duration.proto ] || missing+=(libprotobuf-dev)
  # Fonts: without any, screenshots show boxes for letters.
  fc-list 2>/dev/null | grep -q . || missing+=(fontconfig fonts-dejavu-core)
  ((${#missing[@]})) || return 0

  local list
  list=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
  say "installing: $list"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo; as root run: apt-get install -y $list"
    sudo=(sudo)
  fi
  command -v apt-get >/dev/null || die "no apt-get; install these by your own means: $list"
  "${sudo[@]}" apt-get update -q
  # By env: sudo hands no variables on, and tshark's package would ask who may capture.
  # shellcheck disable=SC2086
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list
}

install_rust() {
  if ! command -v cargo >/dev/null; then
    say "installing Rust $RUST_VERSION"
    curl -fsS --proto '=https' --tlsv1.2 https://sh.rustup.rs |
      sh -s -- -y -q --profile minimal --default-toolchain "$RUST_VERSION" -c clippy -c rustfmt
  fi
  local have
  have=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$RUST_VERSION" "$have" | sort -V | head -1)" = "$RUST_VERSION" ] ||
    die "Rust $have is too old; run: rustup update stable (at least $RUST_VERSION is wanted)"
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
    rustup component add rustfmt clippy
}

install_cargo_deny() {
  cargo deny --version >/dev/null 2>&1 && return
  say "building cargo-deny $CARGO_DENY_VERSION (some minutes, once)"
  cargo install --locked --quiet --root "$TOOLS" --version "$CARGO_DENY_VERSION" cargo-deny
}

install_npm() {
  local dir=tests/browser
  [ -f "$dir/package-lock.json" ] || return 0
  # npm's own record of what it installed; older than the lock file means it is out of date.
  local stamp="$dir/node_modules/.package-lock.json"
  [ "$stamp" -nt "$dir/package-lock.json" ] && return
  say "installing the browser drivers"
  (cd "$dir" && npm ci --silent)
  touch "$stamp"
}

install_interop() {
  [ -x tests/interop/setup.sh ] || return 0
  tests/interop/setup.sh
}

install_packages
install_rust
install_cargo_deny
install_npm
install_interop
say "ready"
