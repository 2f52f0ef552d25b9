#!/usr/bin/env bash
# Installs what is missing, builds lorasb-finetune, fetches the model, and runs it with a look-ahead and the arguments given here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source examples/setup.sh

lorasb_run lorasb-finetune --look-ahead auto "$@"
