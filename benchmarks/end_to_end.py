"""lorasb-finetune on WordNet beside the same recipe in PyTorch: wall time, CPU time, peak memory, accuracy.

usage: end_to_end.py BUILD_FOLDER OUT.json [options of lorasb-finetune]
The PyTorch is that of $PYTHON, or of Debian's /usr/bin/python3. Python's standard library only.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

THREADS = 1
BACKENDS = {"Eigen": ["eigen", "f32"], "oneDNN": ["onednn", "f32"], "oneDNN, bfloat16 weights": ["onednn", "bf16"]}


def run(command):
    """Wall and CPU seconds, peak resident bytes, and standard output."""
    start, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, stdout=output)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            try:  # the high-water mark of this program alone, which wait4's would mix with that of the one that started it
                lines = pathlib.Path(f"/proc/{child.pid}/status").read_text().splitlines()
                peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))])
            except OSError:
                pass
            time.sleep(0.001 if time.monotonic() < start + 1 else 0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{command[0]} failed")
        output.seek(0)
        return {"wall_s": time.monotonic() - start, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": peak}, output.read()


def main():
    build, out, options = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    source = pathlib.Path(__file__).resolve().parent
    python = os.environ.get("PYTHON", "/usr/bin/python3")
    finetune = str(build / "examples" / "lorasb-finetune")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([build / "benchmarks" / "dump_finetune", "--out", folder, *options], check=True)
        idle = run([finetune, "--help"])[0]["peak_bytes"]
        ours = {}
        for backend, (products, weights) in BACKENDS.items():
            command = [finetune, "--out", str(folder / products / weights), "--threads", str(THREADS), "--checkpoint-every", "0",
                       "--backend", products, "--weights", weights, *options]
            ours[backend], _ = run(command)
            metrics = json.loads(next((folder / products / weights).rglob("metrics.json")).read_text())
            ours[backend]["accuracy"] = metrics["test_accuracy"]
            ours[backend]["idle_bytes"] = idle
        rival, printed = run([python, str(source / "rival" / "finetune.py"), str(folder), "--threads", str(THREADS)])
        rival["accuracy"] = json.loads(printed.splitlines()[-1])["accuracy"]
        rival["idle_bytes"] = run([python, "-c", "import numpy, torch"])[0]["peak_bytes"]
    with open(out, "w") as file:
        json.dump({"threads": THREADS, "options": options, "ours": ours, "rival": rival}, file, indent=1)


if __name__ == "__main__":
    main()
