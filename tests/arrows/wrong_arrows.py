"""Proves that every wrong arrow fails, in `tools/dev check` and in the build under clang 19, and other breaches in `check`.

Usage: wrong_arrows.py ROOT. Works on a copy of the tree. Adds to every room a file with each forbidden include and a
target with each forbidden dependency, which must fail, and one of each with a right arrow, which must not. Ends with
"arrows: N passed, N failed", and exits with 1 if any failed.
"""

import collections
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from wrong_awaits import PLACES

# A place that can be included: a header there (the first file of a pattern), its spelling in an include, its target.
Place = collections.namedtuple("Place", "pattern spelling label")
BASE = Place("runtime/base/*.h", '"kedge/runtime/base/{}"', "//runtime/base")
SYS_EVENT = Place("runtime/kqueue/include/sys/event.h", "<sys/event.h>", "//runtime/kqueue")
KQUEUE_EXTENSION = Place("runtime/kqueue/extension.h", '"kedge/runtime/kqueue/extension.h"', "//runtime/kqueue:extension")
KQUEUE_FILTER = Place("runtime/kqueue/filter.h", '"kedge/runtime/kqueue/filter.h"', "//runtime/kqueue:filter")
KQUEUE_INSIDE = Place("runtime/kqueue/k*.h", '"kedge/runtime/kqueue/{}"', "//runtime/kqueue:internal")
RUNTIME = Place("runtime/*.h", '"kedge/runtime/{}"', "//runtime")
MACH_CALLS = Place("mach/kernel/abi/include/mach/mach.h", "<mach/mach.h>", "//mach/kernel")
MACH_EXTENSION = Place("mach/kernel/extension.h", '"kedge/mach/kernel/extension.h"', "//mach/kernel:extension")
ABI = Place("mach/kernel/abi/*.h", '"kedge/mach/kernel/abi/{}"', "//mach/kernel/abi")
CORE = Place("mach/kernel/core/*.h", '"kedge/mach/kernel/core/{}"', "//mach/kernel/core")
EMBEDDED = Place("mach/kernel/embedded/*.h", '"kedge/mach/kernel/embedded/{}"', "//mach/kernel/embedded")
MACH = Place("mach/*.h", '"kedge/mach/{}"', "//mach")

# Users depend on these, so every room can: the includes are refused, the dependency is not.
PUBLIC = (RUNTIME, MACH, KQUEUE_EXTENSION, MACH_EXTENSION)

# A room: its folder, the targets that its code depends on, some places that it may include, and those that it may not.
Room = collections.namedtuple("Room", "folder deps right wrong")
KERNELS = [ABI, CORE, EMBEDDED]
ROOMS = [
    Room("runtime/base", [":base"], [BASE],
         [SYS_EVENT, KQUEUE_EXTENSION, KQUEUE_FILTER, KQUEUE_INSIDE, RUNTIME, MACH, MACH_CALLS, MACH_EXTENSION, *KERNELS]),
    Room("runtime/kqueue", [":kqueue", "//runtime/base"], [SYS_EVENT, BASE], [RUNTIME, MACH, MACH_CALLS, *KERNELS]),
    Room("runtime", [":runtime", "//runtime/base", "//runtime/kqueue"], [SYS_EVENT, BASE],
         [KQUEUE_FILTER, KQUEUE_INSIDE, MACH, MACH_CALLS, MACH_EXTENSION, *KERNELS]),
    Room("mach/kernel/core", [":core", "//runtime/base"], [CORE, BASE],
         [SYS_EVENT, KQUEUE_EXTENSION, KQUEUE_FILTER, KQUEUE_INSIDE, RUNTIME, MACH, MACH_EXTENSION, ABI, EMBEDDED]),
    Room("mach/kernel/abi", [":abi", "//mach/kernel/core", "//runtime/base"], [CORE, BASE],
         [SYS_EVENT, KQUEUE_EXTENSION, KQUEUE_FILTER, KQUEUE_INSIDE, RUNTIME, MACH, EMBEDDED]),
    Room("mach/kernel/embedded", [":embedded", "//mach/kernel/core", "//runtime/base", "//runtime/kqueue:filter"],
         [KQUEUE_FILTER, BASE],
         [KQUEUE_EXTENSION, KQUEUE_INSIDE, RUNTIME, MACH, ABI]),
    Room("mach", [":mach", "//mach/kernel", "//runtime", "//runtime/base"], [MACH_CALLS, BASE],
         [SYS_EVENT, KQUEUE_EXTENSION, KQUEUE_FILTER, KQUEUE_INSIDE, *KERNELS]),
    Room("tools/demo", ["//mach", "//runtime"], [MACH],
         [BASE, SYS_EVENT, KQUEUE_EXTENSION, KQUEUE_FILTER, KQUEUE_INSIDE, MACH_CALLS, MACH_EXTENSION, *KERNELS]),
    Room("tests/runtime", ["//runtime"], [RUNTIME], [KQUEUE_FILTER, KQUEUE_INSIDE, MACH, MACH_CALLS, *KERNELS]),
    Room("tests/runtime/kqueue", ["//runtime/kqueue", "//runtime/kqueue:filter"], [KQUEUE_FILTER],
         [KQUEUE_INSIDE, RUNTIME, MACH, MACH_CALLS, *KERNELS]),
    Room("tests/mach/kernel", ["//mach/kernel/core", "//runtime/base"], [CORE, BASE], [KQUEUE_FILTER, KQUEUE_INSIDE, RUNTIME, MACH]),
]

# Breaches that only `check` refuses: the path, the text, and a part of the line that `check` must print.
OTHER_BREACHES = [
    ("net/wrong/event.cc", "#include <sys/event.h>\n", "net may not include <sys/event.h>"),
    ("net/wrong/mach.cc", "#include <mach/mach.h>\n", "net may not include <mach/mach.h>"),
    ("net/wrong/right.cc", '#include "kedge/mach/right.h"\n', 'net may not include "kedge/mach/right.h"'),
    ("mach/kernel/core/wrong/call.cc", "#include <mach/mach.h>\n", "it has no caller"),
    ("mach/kernel/core/wrong/host.cc", "#include <sys/eventfd.h>\n", "it knows no host"),
    ("runtime/wrong/net.cc", '#include "kedge/net/socket.h"\n', 'runtime may not include "kedge/net/socket.h"'),
    ("runtime/wrong/path.cc", '#include "runtime/loop.h"\n', 'runtime may not include "runtime/loop.h"'),
    ("runtime/wrong/host.cc", "#include <sys/epoll.h>\n", "it knows no host"),
    ("runtime/wrong/word.cc", "#ifdef __linux__\n#endif\n", "runtime knows no host, and says __linux__"),
    ("runtime/wrong/call.cc", "int fd = accept4(0, nullptr, nullptr, 0);\n", "runtime knows no host, and says accept4"),
    ("mach/wrong/clock.cc", "auto clock = CLOCK_BOOTTIME;\n", "mach knows no host, and says CLOCK_BOOTTIME"),
    ("mach/wrong/path.cc", 'auto path = "/proc/self/maps";\n', "mach knows no host, and says /proc/"),
    ("mach/wrong/net.cc", '#include "kedge/net/socket.h"\n', 'mach may not include "kedge/net/socket.h"'),
    ("tools/wrong/utils.cc", "\n", "a file is named for the one thing it defines"),
    ("tools/wrong/later.cc", "// TO" + "DO\n", "says TO" + "DO"),
    ("tools/wrong/twice.h", "\n", "has no #pragma once"),
    ("README.md", "<!-- tests/doctest_main.cc -->\n```cpp\nint main() {}\n```\n", "not what tests/doctest_main.cc says"),
    ("MODULE.bazel", 'module(name = "kedge")\n', "does not give the version"),
    ("attic/wrong.cc", "\n", "lies in no room of the house"),
    ("tools/wrong/absent.cc", '#include "kedge/runtime/absent.h"\n', '"kedge/runtime/absent.h" is not a file of this tree'),
    ("mach/wrong/beside.cc", '#include "right.h"\n', 'mach may not include "right.h"'),
    ("tools/wrong/name.cc", "// short_" + "call\n", "which is now fast_path"),
    ("tools/wrong/name.py", "# look_" + "at\n", "which is now probe"),
    ("tools/wrong/name", "# time_" + "limit\n", "which is now deadline"),
    ("tools/wrong/word.cc", "int after" + "math;\n", "which is now deferred_work"),
    ("runtime/wrong/wait.h", "struct [[nodiscard]] wait final : base { int operator co_await() &&; };\n", "no test sweeps wait"),
    ("runtime/wrong/long.cc", "\n" * 601, "has more than 600 lines"),
]


class Case:
    """One include in one room, right or wrong, as a file and as two targets."""

    def __init__(self, tree, room, place, wrong):
        headers = sorted(glob.glob(os.path.join(tree, place.pattern)))
        self.spelling = place.spelling.format(os.path.basename(headers[0])) if headers else place.spelling
        self.room, self.place, self.is_wrong = room, place, wrong
        self.name = "arrow_" + re.sub(r"\W+", "_", self.spelling.strip('<">')).removesuffix("_h")
        self.path = f"{room.folder}/wrong/{self.name}.cc"

    def target(self, suffix):
        return f"//{self.room.folder}:{self.name}{suffix}"

    def rules(self):
        """Returns a target that includes the place with the room's own dependencies, and one that depends on the place."""
        return (f'_arrow_library(name = "{self.name}_include", srcs = ["wrong/{self.name}.cc"], '
                f"deps = {json.dumps(self.room.deps)})\n"
                f'_arrow_library(name = "{self.name}_dep", deps = ["{self.place.label}"])\n')


def await_path(number):
    return f"tools/wrong/await_{number}.cc"


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def add_cases(tree):
    cases = [Case(tree, room, place, place in room.wrong) for room in ROOMS for place in [*room.right, *room.wrong]]
    for case in cases:
        write(os.path.join(tree, case.path), f"#include {case.spelling}\n")
    for room in ROOMS:
        path = os.path.join(tree, room.folder, "BUILD")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        rules = "".join(case.rules() for case in cases if case.room is room)
        write(path, f'load("@rules_cc//cc:defs.bzl", _arrow_library = "cc_library")\n{text}\n{rules}')
    for path, text, _ in OTHER_BREACHES:
        write(os.path.join(tree, path), text)
    for number, (text, _) in enumerate(PLACES):
        write(os.path.join(tree, await_path(number)), text)
    return cases


def run_check(tree, cases):
    """Yields each trial, and whether `check` refused or accepted it as it must."""
    run = subprocess.run([sys.executable, os.path.join(tree, "tools/check.py"), tree], capture_output=True, text=True,
                         check=False)
    lines = run.stdout.splitlines()
    yield "check exits with 1", run.returncode == 1
    for case in cases:
        refused = any(line.startswith(f"{case.path}:1: ") and case.spelling in line for line in lines)
        yield f"check: {case.room.folder} includes {case.spelling}", refused == case.is_wrong
    for path, _, breach in OTHER_BREACHES:
        yield f"check: {path}", any(line.startswith(path + ":1: ") and breach in line for line in lines)
    for number, (text, place) in enumerate(PLACES):
        said = [line for line in lines if line.startswith(await_path(number) + ":")]
        line = text[:text.index("co_await")].count("\n") + 1
        yield f"check: {text}", said == ([f"{await_path(number)}:{line}: co_await inside {place}: name the value first"] if place else [])


def bazel(tree, *arguments):
    run = subprocess.run(["bazel", *arguments], cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    return run.returncode, run.stdout


def run_build(tree, cases):
    """Yields each trial, and whether layering_check and visibility refused or accepted it as they must."""
    # Compiles only the file with the include, not the targets that it depends on.
    flags = ["--config=clang", "--keep_going", "--output_groups=compilation_outputs", "--color=no", "--curses=no",
             "--noshow_progress"]
    status, output = bazel(tree, "build", *flags, *(case.target("_include") for case in cases))
    yield "the build with wrong includes fails", status == 1
    for case in cases:
        refused = re.search(rf"^{re.escape(case.path)}:1:\d+: (fatal )?error: ('.*' file not found|module .* does not"
                            r" depend on|use of private header)", output, re.MULTILINE) is not None
        yield f"layering_check: {case.room.folder} includes {case.spelling}", refused == case.is_wrong
    status, output = bazel(tree, "build", *flags, *(case.target("_include") for case in cases if not case.is_wrong))
    yield "the build with right includes succeeds", status == 0 or print(output)
    status, output = bazel(tree, "build", "--nobuild", *flags, *(case.target("_dep") for case in cases))
    yield "the build with wrong dependencies fails", status == 1
    for case in cases:
        refused = re.search(rf"is not visible from target '{case.target('_dep')}'", output) is not None
        must_be = case.is_wrong and case.place not in PUBLIC
        yield f"visibility: {case.room.folder} depends on {case.place.label}", refused == must_be


def main():
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as home:
        tree = os.path.join(home, "kedge")
        shutil.copytree(sys.argv[1], tree, ignore=shutil.ignore_patterns(".git", ".bazel", "bazel-*", "__pycache__"))
        cases = add_cases(tree)
        try:
            for run in (run_check, run_build):
                for trial, held in run(tree, cases):
                    counts[bool(held)] += 1
                    if not held:
                        print(f"FAILED: {trial}")
        finally:
            bazel(tree, "clean", "--expunge")
    print(f"arrows: {counts[True]} passed, {counts[False]} failed")
    return 1 if counts[False] else 0


if __name__ == "__main__":
    sys.exit(main())
