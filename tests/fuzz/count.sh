#!/usr/bin/env bash
# Counts many mutated inputs: tests/fuzz/count.sh PROGRAM INPUTS [FOLDER]. Every reader by turns gets INPUTS inputs a round, one
# process at a time at a low priority, until it is stopped; it goes on where it was stopped. PROGRAM is a mutate_readers. FOLDER
# (build/fuzz/counts) gets a line `reader seed inputs past-the-first-check accepted` in counts.txt for each run, and an input that
# ended a program, with what was said. The seed is the number of the round. With LORASB_FUZZ_INPUTS set to a folder of run.sh's
# kept inputs, runs start from them too. SUM=1 prints the sums alone.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: tests/fuzz/count.sh PROGRAM INPUTS [FOLDER]" >&2
  exit 2
fi
program=$(realpath "$1") inputs=$2 folder=${3:-build/fuzz/counts}
mkdir -p "$folder"
cd "$folder"
touch counts.txt
if [ "${SUM:-0}" = 1 ]; then
  awk '{n[$1] += $3; p[$1] += $4; a[$1] += $5; all += $3} END {for (r in n) printf "%s %d inputs, %.1f %% past the first check, %.1f %% accepted\n", r, n[r], 100 * p[r] / n[r], 100 * a[r] / n[r]; printf "together %d\n", all}' counts.txt | sort
  exit 0
fi
readers=(safetensors peft_folder journal update checkpoint tsv tokenizer_json vocabulary use_vocabulary encoder_folder tfjs mixture_folder clinc150 spam)
for ((round = 1; ; ++round)); do
  for reader in "${readers[@]}"; do
    if grep -q "^$reader $round " counts.txt; then continue; fi
    kept=()
    if [ -d "${LORASB_FUZZ_INPUTS:-}/$reader" ]; then kept=("$LORASB_FUZZ_INPUTS/$reader"); fi
    if nice -n 15 "$program" --reader="$reader" --inputs="$inputs" --seed="$round" "${kept[@]}" 2> said.txt; then status=0; else status=$?; fi
    sed -n "s/^fuzz $reader: \([0-9]*\) inputs, \([0-9]*\) past the first check.*, \([0-9]*\) accepted\$/$reader $round \1 \2 \3/p" said.txt >> counts.txt
    if [ "$status" != 0 ]; then
      mv said.txt "said-$reader-$round.txt"
      echo "$reader $round 0 0 0 failed" >> counts.txt
    fi
  done
done
