#!/usr/bin/env bash
# Makes the virtual environment of the interop tests, once: target/interop-venv. Quick when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV="${CARGO_TARGET_DIR:-$PWD/target}/interop-venv"
WANTED=tests/interop/requirements.txt

cmp -s "$WANTED" "$VENV/requirements.installed" && exit 0
echo "interop: installing aiortc into $VENV"
python3 -m venv "$VENV"
"$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$WANTED"
cp "$WANTED" "$VENV/requirements.installed"
