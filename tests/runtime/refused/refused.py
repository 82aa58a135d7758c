"""Proves that misuse of the runtime, the Mach library and net does not compile, or not without a warning, and that the compiler
names the remedy.

Usage: refused.py ROOT COMPILER... Compiles errors.cc and warnings.cc of each with each compiler, and looks for what their
lines expect. Two files, since g++ does not warn of some things once there was an error. Ends with "refused: N passed, N failed", and
exits with 1 if any failed.
"""

import os
import re
import subprocess
import sys
import tempfile

FILES = ("tests/runtime/refused/errors.cc", "tests/runtime/refused/warnings.cc",
         "tests/mach/refused/errors.cc", "tests/mach/refused/warnings.cc", "tests/net/refused/errors.cc")
EXPECTED = re.compile(r'// (g\+\+ 12: |clang: )?"(.*)"$')


def is_gcc12(compiler):
    run = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return "Free Software Foundation" in run.stdout and re.search(r"\b12\.\d+\.\d+", run.stdout) is not None


def expectations(path, compiler):
    """Yields the number of each line of the file that `compiler` must complain of, and a part of the complaint."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            found = EXPECTED.search(line.rstrip())
            if found and (not found[1] or is_gcc12(compiler) == found[1].startswith("g++")):
                yield number, found[2]


def complaints(root, path, compiler):
    """Returns what the compiler says about the file."""
    unlimited = ["-ferror-limit=0"] if "clang" in os.path.basename(compiler) else []  # g++ has no limit
    with tempfile.TemporaryDirectory() as home:
        os.symlink(os.path.abspath(root), os.path.join(home, "kedge"))
        run = subprocess.run(
            [compiler, *unlimited, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-ftemplate-backtrace-limit=0",
             "-I" + home, "-isystem", os.path.join(root, "runtime/kqueue/include"),
             "-isystem", os.path.join(root, "mach/kernel/abi/include"), path],
            capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return run.stderr


def main():
    root, compilers = sys.argv[1], sys.argv[2:]
    passed = failed = 0
    for compiler in compilers:
        for name in FILES:
            path = os.path.join(root, name)
            output = complaints(root, path, compiler)
            for number, part in expectations(path, compiler):
                if f"{path}:{number}:" in output and part in output:
                    passed += 1
                else:
                    failed += 1
                    print(f"FAILED: {compiler} does not say {part!r} about {name}:{number}")
    print(f"refused: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
