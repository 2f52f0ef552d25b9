#!/usr/bin/env bash
# Checks lorasb against the Python programs that its users have: PEFT, transformers, safetensors, tokenizers, dp-accounting, Opacus.
# Installs them into a virtual environment of its own, kept in LORASB_CACHE (by default ~/.cache/lorasb) as interop/venv: about 6 GB,
# two minutes. Where the package index cannot be reached, it says so and ends well. The last line says how many checks passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source examples/setup.sh

lorasb_packages+=(python3-venv)
lorasb_install_packages
venv=${LORASB_CACHE:-${HOME:-/tmp}/.cache/lorasb}/interop/venv
wanted=$(sha256sum <tests/interop/requirements.txt)
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
  lorasb_say "Installing PyTorch, PEFT, dp-accounting and Opacus into $venv"
  mkdir -p "$(dirname "$venv")"
  log=$(mktemp)
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt; } >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    lorasb_say "interop: skipped, the Python packages could not be installed (the last words are above)"
    exit 0
  fi
  printf '%s\n' "$wanted" >"$venv/requirements.sha256"
fi

lorasb_fetch_model
lorasb_fetch_minilm
cmake --preset default -DLORASB_BUILD_TESTS=ON -DLORASB_MODEL_DIR="$LORASB_MODEL_DIR" >/dev/null
cmake --build --preset default --target interop_folders interop_states interop_tokens lorasb-epsilon lorasb-finetune
passed=0 failed=0
for check in adapters keys tokens states classifier merged problems epsilon; do
  lorasb_say "== $check"
  if "$venv/bin/python" "tests/interop/check_$check.py" build/default; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
lorasb_say "interop: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
