#!/bin/bash
# Builds the benchmarks, runs them all beside their rivals, prints one table and writes it into docs/performance.md.
#   benchmarks/run.sh [--quick] [--only REGEX]
# --quick: small sizes, few pairs, no headers and no end-to-end run; --only: benchmarks whose names match, and nothing else.
# Needs what docs/performance.md lists; the example's encoder lies in LORASB_MODEL_DIR. Run it on a machine that does nothing
# else. PYTHON (default /usr/bin/python3) is the interpreter of the PyTorch that lorasb-finetune is compared with.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
build=build/benchmarks
results=$build/results
quick="" only=""
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes ;;
    --only) only=$2; shift ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
flags=${CXXFLAGS:--march=native}

cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS="$flags" -DLORASB_BUILD_TESTS=OFF \
  -DLORASB_BUILD_EXAMPLES=ON -DLORASB_BUILD_BENCHMARKS=ON > $root/configure.log 2>&1 || { cat configure.log; exit 1; }
mkdir -p $results && mv configure.log $results/
cmake --build $build --parallel "${LORASB_JOBS:-2}" --target lorasb_benchmarks

# The threads of OpenMP and of OpenBLAS start at one; a benchmark of more sets both. Waiting threads sleep: on a machine that
# does anything else, those that spin slow the rival down several times.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
rm -f $results/*.json
filter=-^alone
[ -n "$quick" ] && filter='^(training_step/real|layer/576|svd/1024)'
[ -n "$only" ] && filter=$only
for program in $build/benchmarks/*_benchmark; do
  "$program" --benchmark_filter="$filter" --benchmark_out_format=json \
    --benchmark_out=$results/"$(basename "$program")".json
done
if [ -z "$only" ]; then
  python3 benchmarks/compile_cost.py . $results/compile_cost.json ${quick:+--quick}
  [ -n "$quick" ] || python3 benchmarks/end_to_end.py $build $results/finetune.json --train-size 3000 --epochs 2 --test-size 2000
fi

{
  echo "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) threads of execution" \
    "($(grep -m1 -oE 'avx512_bf16|avx512f|avx2' /proc/cpuinfo | head -1 || true)), load before: $(cut -d' ' -f1-3 /proc/loadavg)"
  echo "flags: $(c++ --version | head -1), Release, $flags"
  echo "environment: OMP_WAIT_POLICY=$OMP_WAIT_POLICY, threads as in the table for OpenMP, LibTorch and OpenBLAS"
  if [ -x $build/benchmarks/rival_configuration ]; then
    $build/benchmarks/rival_configuration | grep -vE 'Build settings|not set|Environment|^$' | sed 's/^ *//'
  fi
} > $results/machine.txt
python3 benchmarks/table.py $results docs/performance.md
