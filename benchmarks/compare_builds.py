"""The benchmarks of two builds of the library in turns: what became slower, what faster.

usage: compare_builds.py OLD_BUILD NEW_BUILD [--pairs N] [--filter REGEX]
The builds are folders of CMake with LORASB_BUILD_BENCHMARKS=ON, of two commits with the same compiler and flags. Every row that both
have runs N times (7) in each, old and new in turns; printed is the median of the pairs' ratios, old over new, with its quartiles, as a
table: more than 1 means that the new one is faster. Python's standard library only.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("old", type=pathlib.Path)
parser.add_argument("new", type=pathlib.Path)
parser.add_argument("--pairs", type=int, default=7)
parser.add_argument("--filter", default="")
options = parser.parse_args()


def rows_of(program):
    """The rows of a program that --filter names."""
    found = subprocess.run([program, "--benchmark_list_tests=true"], capture_output=True, text=True).stdout.splitlines()
    return [name for name in found if re.search(options.filter, name)]


def seconds(program, row):
    """Of the library's own side, where a row has a rival."""
    found = subprocess.run([program, "--benchmark_filter=^" + re.sub(r"([.+*?()|])", r"\\\1", row) + "$", "--benchmark_min_time=0.2", "--benchmark_format=json"],
                           capture_output=True, text=True).stdout
    run = json.loads(found)["benchmarks"][0]
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}
    return run.get("ours_s", run["real_time"] * units[run["time_unit"]])


print("| row | old : new | old over new (quartiles) |\n| --- | --- | --- |")
for old in sorted((options.old / "benchmarks").glob("*_benchmark")):
    new = options.new / "benchmarks" / old.name
    if not new.exists():
        continue
    of_new = set(rows_of(new))
    for row in dict.fromkeys(rows_of(old)):
        if row not in of_new:
            continue
        pairs = []
        for turn in range(options.pairs):
            one = [seconds(p, row) for p in ((old, new) if turn % 2 == 0 else (new, old))]
            pairs.append(one if turn % 2 == 0 else one[::-1])
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        a, b = (statistics.median(side) for side in zip(*pairs))
        print(f"| {row.removesuffix('/real_time').removesuffix('/manual_time')} | {a:.3g} s : {b:.3g} s | **{middle:.2f}** ({low:.2f} to {high:.2f}) |", flush=True)
