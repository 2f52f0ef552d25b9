#!/usr/bin/env bash
# Installs what is missing, fetches the model, builds everything and runs all tests: with g++ for this machine, then with clang++ under
# the address and undefined-behaviour sanitizers, then what uses threads under the thread sanitizer. `tests/run.sh default`,
# `sanitize` or `thread` runs one of the three.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/setup.sh

lorasb_install_packages
lorasb_fetch_model
for preset in "${@:-default sanitize thread}"; do
  for name in $preset; do
    lorasb_say "== $name"
    cmake --preset "$name" -DLORASB_BUILD_TESTS=ON -DLORASB_MODEL_DIR="$LORASB_MODEL_DIR"
    cmake --build --preset "$name"
    ctest --preset "$name"
  done
done
