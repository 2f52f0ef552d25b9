#!/usr/bin/env bash
# Installs what is missing, builds lorasb-finetune, fetches the model, and runs it with the arguments given here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source examples/setup.sh

lorasb_install_packages
lorasb_fetch_model
case " $* " in *" spam "*) lorasb_fetch_spam ;; esac
lorasb_say "Building lorasb-finetune"
cmake --preset default -DLORASB_BUILD_TESTS=OFF >/dev/null
cmake --build --preset default --target lorasb-finetune
exec build/default/examples/lorasb-finetune "$@"
