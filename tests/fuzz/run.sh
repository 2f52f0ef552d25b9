#!/usr/bin/env bash
# Fuzzes every reader for SECONDS, or those that are named: tests/fuzz/run.sh SECONDS [reader ...]. Inputs that reach new code
# are kept in build/fuzz/inputs/<reader>, from where the next run goes on; one that fails, in build/fuzz/failures. FAST=1 builds
# without the sanitizers: more inputs a second, and only wrong exceptions, broken promises and crashes are seen; let a run with
# them follow, which takes over what was kept. The last lines are the counts. JOBS (1) readers run at a time, at the lowest
# priority.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ $# -eq 0 ]; then
  echo "usage: tests/fuzz/run.sh SECONDS [reader ...]" >&2
  exit 2
fi
seconds=$1
shift
if [ $# -eq 0 ]; then
  set -- safetensors peft_folder journal update checkpoint tsv tokenizer_json vocabulary use_vocabulary encoder_folder tfjs mixture_folder clinc150 spam classifier
fi
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" build=build/fuzz/sanitized
if [ "${FAST:-0}" = 1 ]; then sanitizers="" build=build/fuzz/fast; fi
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS="-march=native $sanitizers" \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -DLORASB_TEST_BUILDS=OFF -DLORASB_BUILD_TESTS=ON -DLORASB_BUILD_EXAMPLES=OFF -DLORASB_FUZZ=ON \
  -DLORASB_TEST_FOLDERS=core > /dev/null
cmake --build $build -j "${JOBS:-1}" --target fuzz_readers
mkdir -p build/fuzz/inputs build/fuzz/failures build/fuzz/logs
one() {
  mkdir -p "build/fuzz/inputs/$1"
  nice -n 19 "$2/tests/fuzz_readers" --reader="$1" -max_total_time="$3" -max_len=16384 -timeout=60 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -print_funcs=0 -artifact_prefix="build/fuzz/failures/$1-" "build/fuzz/inputs/$1" > "build/fuzz/logs/$1" 2>&1 || echo "$1: failed, see build/fuzz/logs/$1"
}
export -f one
printf '%s\n' "$@" | xargs -P "${JOBS:-1}" -I{} bash -c "one {} $build $seconds"
for reader in "$@"; do grep -h '^fuzz ' "build/fuzz/logs/$reader" || true; done
