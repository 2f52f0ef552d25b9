"""Compiles and runs the programs of a page, and compares what they print with what the page shows.

usage: check_page.py PAGE --cxx COMPILER --eigen FOLDER
A program is a ```cpp block with an `int main`; the fenced block after it is its output. A line `<!-- examples/x.cpp -->` before it
says that the program is that file, and a line `<!-- files: FOLDER -->` that it runs in a copy of that folder. A page that shows how to
do something has a program; those that do not are listed here.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

NO_PROGRAM = {"index", "glossary", "design", "derivations", "results", "performance", "changelog", "errors", "faults",
              "contributing", "concepts"}
BLOCK = re.compile(r"(?:<!-- files: (?P<files>\S+) -->\n)?(?:<!-- (?P<file>\S+) -->\n)?"
                   r"```cpp\n(?P<code>(?:(?!```).*\n)*?)```\n(?P<between>(?:(?!```).*\n)*?)```[a-z]*\n(?P<output>(?:(?!```).*\n)*?)```")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parents[2]
    text = arguments.page.read_text()
    programs = [block for block in BLOCK.finditer(text) if re.search(r"^int main\(", block["code"], re.M)]
    if len(programs) != len(re.findall(r"^int main\(", text, re.M)):
        sys.exit(f"{arguments.page.name}: a program is not followed by its output")
    if not programs and arguments.page.stem not in NO_PROGRAM:
        sys.exit(f"{arguments.page.name}: there is no whole program on this page")
    for number, block in enumerate(programs, 1):
        where = f"{arguments.page.name}, program {number}"
        code = block["code"]
        if block["file"] and (root / block["file"]).read_text() != code:
            sys.exit(f"{where}: differs from {block['file']}")
        with tempfile.TemporaryDirectory() as folder:
            if block["files"]:
                shutil.copytree(root / block["files"], folder, dirs_exist_ok=True)
            source, program = pathlib.Path(folder) / "main.cpp", pathlib.Path(folder) / "main"
            source.write_text(code)
            command = [arguments.cxx, "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I", root / "include", "-I",
                       arguments.eigen, source, "-o", program, "-pthread"]
            if re.search("lorasb/(text|data|classify)/", code):
                command.append("-lutf8proc")
            if "lorasb/mpi/" in code:
                command[0] = "mpicxx"
            if "lorasb/onednn/" in code:
                command.append("-ldnnl")
            built = subprocess.run(command, capture_output=True, text=True)
            if built.returncode:
                sys.exit(f"{where}: does not compile\n{built.stderr[:4000]}")
            run = [program]
            if "lorasb/mpi/" in code:
                run = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "2", program]
            ran = subprocess.run(run, capture_output=True, text=True, cwd=folder)
            shown = [line.rstrip() for line in block["output"].splitlines()]
            if ran.returncode or [line.rstrip() for line in ran.stdout.splitlines()] != shown:
                sys.exit(f"{where}: exit status {ran.returncode}, printed\n{ran.stdout}\nexpected\n{block['output']}\n{ran.stderr}")
    print(f"{arguments.page.name}: {len(programs)} programs print what the page shows")


main()
