#!/usr/bin/env bash
# Counts many mutated inputs: tests/fuzz/count.sh PROGRAM INPUTS [FOLDER]. Every reader by turns gets INPUTS inputs a round, one
# process at a time at a low priority (NICE, 15), until it is stopped; it goes on where it was stopped. After ROUNDS (20) rounds only the
# readers go on whose inputs take less time than the mean of all. PROGRAM is a mutate_readers. FOLDER (build/fuzz/counts) gets a
# line `reader seed inputs past-the-first-check accepted seconds-of-processor` in counts.txt for each run, and an input that ended
# a program, with what was said. The seed is the number of the round, FIRST (1) that of the first. With LORASB_FUZZ_INPUTS set to a
# folder of run.sh's kept inputs, runs start from them too. SUM=1 prints the sums alone.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: tests/fuzz/count.sh PROGRAM INPUTS [FOLDER]" >&2
  exit 2
fi
program=$(realpath "$1") inputs=$2 folder=${3:-build/fuzz/counts} first=${FIRST:-1} rounds=${ROUNDS:-20}
mkdir -p "$folder"
cd "$folder"
touch counts.txt
if [ "${SUM:-0}" = 1 ]; then
  awk '{n[$1] += $3; p[$1] += $4; a[$1] += $5; s[$1] += $6; all += $3; past += $4; time += $6; failed += $7 == "failed"}
    END {
      for (r in n) if (n[r] > 0) printf "%s %d inputs, %.1f %% past the first check, %.1f %% accepted, %.1f us each\n", r, n[r], 100 * p[r] / n[r], 100 * a[r] / n[r], 1e6 * s[r] / n[r]
      if (all > 0) printf "together %d inputs, %.1f %% past the first check, %.1f us each, %d runs failed\n", all, 100 * past / all, 1e6 * time / all, failed
    }' counts.txt | sort
  exit 0
fi
# Whether an input of the reader takes less time than the mean of all.
is_cheap() {
  awk -v reader="$1" '{n[$1] += $3; s[$1] += $6} END {for (r in n) if (n[r] > 0) {++readers; mean += s[r] / n[r]} exit !(n[reader] > 0 && s[reader] / n[reader] < mean / readers)}' counts.txt
}
export GLIBC_TUNABLES=glibc.malloc.tcache_count=2000:glibc.malloc.tcache_max=65536  # a tenth less time
readers=(safetensors peft_folder journal update checkpoint tsv tokenizer_json vocabulary use_vocabulary encoder_folder tfjs mixture_folder clinc150 spam classifier)
for ((round = first; ; ++round)); do
  for reader in "${readers[@]}"; do
    if grep -q "^$reader $round " counts.txt; then continue; fi
    if ((round >= first + rounds)) && ! is_cheap "$reader"; then continue; fi
    kept=()
    if [ -d "${LORASB_FUZZ_INPUTS:-}/$reader" ]; then kept=("$LORASB_FUZZ_INPUTS/$reader"); fi
    if nice -n "${NICE:-15}" "$program" --reader="$reader" --inputs="$inputs" --seed="$round" "${kept[@]}" 2> said.txt; then status=0; else status=$?; fi
    sed -n "s/^fuzz $reader: \([0-9]*\) inputs, \([0-9]*\) past the first check.*, \([0-9]*\) accepted, \([0-9.]*\) s\$/$reader $round \1 \2 \3 \4/p" said.txt >> counts.txt
    if [ "$status" != 0 ]; then
      mv said.txt "said-$reader-$round.txt"
      echo "$reader $round 0 0 0 0 failed" >> counts.txt
    fi
  done
done
