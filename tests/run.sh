#!/usr/bin/env bash
# Installs what is missing, fetches the model, builds everything and runs all tests: with g++ for this machine, then with clang++
# under the address and undefined-behaviour sanitizers, then what uses threads under the thread sanitizer. `tests/run.sh default`,
# `sanitize` or `thread` runs one of the three. The last line says how many tests passed, failed and were skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/setup.sh

lorasb_install_packages
lorasb_fetch_model
lorasb_fetch_minilm
passed=0 failed=0 skipped=0
if [ $# -eq 0 ]; then set -- default sanitize thread; fi
for preset in "$@"; do
  lorasb_say "== $preset"
  benchmarks=OFF
  if [ "$preset" = default ]; then benchmarks=ON; fi # so that they compile
  cmake --preset "$preset" -DLORASB_BUILD_TESTS=ON -DLORASB_UNITY_TESTS=ON -DLORASB_BUILD_BENCHMARKS=$benchmarks -DLORASB_MODEL_DIR="$LORASB_MODEL_DIR" -DLORASB_MINILM_DIR="$LORASB_MINILM_DIR"
  cmake --build --preset "$preset"
  results=$PWD/build/$preset/tests.xml
  rm -f "$results"
  ctest --preset "$preset" --output-junit "$results" || true # what failed is counted below
  if [ ! -s "$results" ]; then
    lorasb_fail "ctest wrote no results for the preset $preset"
    exit 1
  fi
  here_passed=$(grep -c 'status="run"' "$results" || true)
  here_failed=$(grep -c 'status="fail"' "$results" || true)
  here_skipped=$(grep -c 'status="\(notrun\|disabled\)"' "$results" || true)
  if [ $((here_passed + here_failed + here_skipped)) -eq 0 ]; then here_failed=1; fi # no test at all is no success
  passed=$((passed + here_passed)) failed=$((failed + here_failed)) skipped=$((skipped + here_skipped))
done
lorasb_say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
