"""Joins what the benchmarks found into one table, prints it, and writes it into docs/performance.md between its markers.

usage: table.py RESULTS_FOLDER PAGE
RESULTS_FOLDER holds *_benchmark.json (Google Benchmark), and if there are any compile_cost.json, finetune.json and
machine.txt. Python's standard library only.
"""
import json
import pathlib
import re
import sys

BEGIN = "<!-- benchmarks/run.sh writes from here -->"
END = "<!-- to here -->"


def number(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def benchmark_rows(folder):
    for path in sorted(folder.glob("*_benchmark.json")):
        text = path.read_text()
        for run in json.loads(text)["benchmarks"] if text else []:
            group, what, threads, backend = run["name"].split("/")[:4]
            if run.get("error_occurred"):
                yield [f"{group}, {what}".replace("_", " "), "", backend, "", "", f"not measured: {run['error_message']}", ""]
                continue
            if "ratio" not in run:
                continue
            note = ""
            if "captured" in run:
                note = f"; energy {run['captured']:.4f} : {run['captured_by_rival']:.4f}"
            if "tokens_per_step" in run:
                note = f"; {run['tokens_per_step']:.0f} tokens, padded {run['padded_tokens_per_step']:.0f}"
            yield [f"{group}, {what}".replace("_", " "), threads.split(":")[1], backend, run["label"] + note,
                   f"{number(run['ours_s'])} : {number(run['rival_s'])}",
                   f"**{run['ratio']:.2f}** ({run['ratio_low']:.2f} to {run['ratio_high']:.2f})", f"{run['cpu_ratio']:.2f}"]


def finetune_rows(folder):
    path = folder / "finetune.json"
    if not path.exists():
        return
    f = json.loads(path.read_text())
    rival, threads, options = f["rival"], str(f["threads"]), " ".join(f["options"])
    for backend, ours in f["ours"].items():
        yield [f"lorasb-finetune {options}, end to end", threads, backend,
               f"PyTorch; accuracy {ours['accuracy']:.4f} : {rival['accuracy']:.4f}",
               f"{number(ours['wall_s'])} : {number(rival['wall_s'])}", f"**{rival['wall_s'] / ours['wall_s']:.2f}**",
               f"{rival['cpu_s'] / ours['cpu_s']:.2f}"]
        memory = [(side["peak_bytes"] - side["idle_bytes"]) / 2**20 for side in (ours, rival)]
        yield ["the same, peak memory above the idle process", threads, backend, "PyTorch",
               f"{memory[0]:.0f} MiB : {memory[1]:.0f} MiB", f"**{memory[1] / memory[0]:.2f}**", ""]


def markdown(head, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def compile_tables(folder):
    path = folder / "compile_cost.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    headers = [r for r in found["rows"] if r["what"].startswith("lorasb/")]
    dear = sorted((r for r in headers if r["cpu_ratio"] >= 1), key=lambda r: -r["cpu_ratio"])
    rows = [[r["what"], f"{r['ours_s']:.2f} s : {r['rival_s']:.2f} s", f"{r['cpu_ratio']:.2f}", f"{r['memory_ratio']:.2f}"]
            for r in [r for r in found["rows"] if r not in headers] + dear]
    cheap = sorted(r["cpu_ratio"] for r in headers if r["cpu_ratio"] < 1)
    rest = f"\n\n{len(cheap)} more headers take less than that file, {cheap[len(cheap) // 2]:.2f} of it in the middle." if cheap else ""
    return ("\n\nCompiling with `" + " ".join(found["flags"]) + "`, programs and each public header alone, beside a file "
            "with one float Eigen product (here less is better):\n\n"
            + markdown(["file", "CPU time, ours : Eigen's", "time ratio", "memory ratio"], rows) + rest)


def main():
    folder, page = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    machine = folder / "machine.txt"
    text = markdown(["what", "threads", "backend", "rival", "ours : rival", "ratio of speed (quartiles)", "of CPU time"],
                    [*benchmark_rows(folder), *finetune_rows(folder)])
    text += compile_tables(folder)
    if machine.exists():
        text += "\n\n```\n" + machine.read_text().strip() + "\n```"
    print(text)
    whole = page.read_text()
    between = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.S)
    if len(between.findall(whole)) != 1:
        sys.exit(f"{page} has not exactly one pair of the lines\n{BEGIN}\n{END}")
    page.write_text(between.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", whole))


main()
