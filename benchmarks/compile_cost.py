"""What it costs a user to compile each public header alone, the quickstart, and the program of an adapter folder, beside a file with one float Eigen product.

usage: compile_cost.py SOURCE_FOLDER OUT.json [--quick]
The compiler is $CXX or g++, the flags -std=c++20 -O2 -march=native. Python's standard library only.
"""
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

FLAGS = ["-std=c++20", "-O2", "-march=native"]
BASELINE = """#include <Eigen/Core>
void multiply(const Eigen::MatrixXf& a, const Eigen::MatrixXf& b, Eigen::MatrixXf& c) { c.noalias() = a * b; }
"""


def pkg_config(*packages):
    found = subprocess.run(["pkg-config", "--cflags", *packages], capture_output=True, text=True)
    return shlex.split(found.stdout) if found.returncode == 0 else []


def cost(source, includes, folder):
    """CPU seconds and peak bytes of the compiler and all its children; None where it fails, for want of a package."""
    child = subprocess.Popen([os.environ.get("CXX", "g++"), *FLAGS, *includes, "-c", str(source), "-o", str(folder / "out.o")],
                             stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return (usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024) if status == 0 else None


def main():
    root, out, quick = pathlib.Path(sys.argv[1]), sys.argv[2], "--quick" in sys.argv[3:]
    includes = ["-I", str(root / "include"), "-I", str(root), *(pkg_config("eigen3") or ["-I", "/usr/include/eigen3"]),
                *pkg_config("ompi-cxx")]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        baseline = folder / "baseline.cpp"
        baseline.write_text(BASELINE)

        def measure(what, source, pairs):
            ratios, memory, seconds = [], [], []
            for _ in range(pairs):
                ours, rival = cost(source, includes, folder), cost(baseline, includes, folder)
                if ours is None:
                    print(f"{what}: does not compile here", file=sys.stderr)
                    return
                ratios.append(ours[0] / rival[0])
                memory.append(ours[1] / rival[1])
                seconds.append((ours[0], rival[0]))
            rows.append({"what": what, "cpu_ratio": statistics.median(ratios), "memory_ratio": statistics.median(memory),
                         "ours_s": statistics.median(s[0] for s in seconds), "rival_s": statistics.median(s[1] for s in seconds)})

        measure("quickstart", root / "examples" / "quickstart.cpp", 3 if quick else 5)
        measure("adapter folder, read, merged, written", root / "examples" / "adapter_folder.cpp", 1 if quick else 3)
        rival = None
        for number, header in enumerate([] if quick else sorted((root / "include" / "lorasb").glob("**/*.hpp"))):
            inside = header.relative_to(root / "include")
            alone = folder / "alone.cpp"
            alone.write_text(f'#include "{inside}"\n')
            if number % 8 == 0:  # often enough to follow the machine
                rival = cost(baseline, includes, folder)
            ours = cost(alone, includes, folder)
            if ours is None:
                print(f"{inside}: does not compile here", file=sys.stderr)
                continue
            rows.append({"what": str(inside), "cpu_ratio": ours[0] / rival[0], "memory_ratio": ours[1] / rival[1], "ours_s": ours[0],
                         "rival_s": rival[0]})
    with open(out, "w") as file:
        json.dump({"flags": FLAGS, "rows": rows}, file, indent=1)


main()
