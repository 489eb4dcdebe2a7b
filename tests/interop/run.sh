#!/usr/bin/env bash
# Runs the interop tests against the release binary. Builds nothing; makes the virtual environment if it is missing.
set -euo pipefail
cd "$(dirname "$0")"

./setup.sh
exec "${CARGO_TARGET_DIR:-$PWD/../../target}/interop-venv/bin/python" -m unittest -v
