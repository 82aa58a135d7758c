"""Holds the tree against the rules of the house: which room may include which, which words and names are not used, where no
co_await stands, and that a test sweeps each awaitable.

Usage: check.py [ROOT]. Prints one line per breach; exits with 1 if there is any.
"""

import os
import re
import sys

from await_places import forbidden_awaits

# Every place that an include can lead to, by how the include is spelled. The longest match decides; what matches
# none is the standard library's or POSIX's, and free to all.
PLACES = (
    "<sys/event.h>",
    "<mach/",
    "<servers/",
    "<bsm/",
    "<sys/fileport.h>",
    "<doctest/",
    '"kedge/runtime/base/',
    '"kedge/runtime/kqueue/',
    '"kedge/runtime/kqueue/extension.h"',
    '"kedge/runtime/kqueue/filter.h"',
    '"kedge/runtime/',
    '"kedge/mach/',
    '"kedge/mach/darwin/',
    '"kedge/mach/kernel/',
    '"kedge/mach/kernel/extension.h"',
    '"kedge/mach/kernel/snapshot.h"',
    '"kedge/mach/kernel/scheduling.h"',
    '"kedge/tools/harness/',
    '"tests/runtime/host.h"',  # a main loop that drives loops
    '"tests/mach/hostile_sender.h"',  # sends a port whatever it likes
    '"tests/runtime/drain.h"',
    '"tests/runtime/in_child_process.h"',
    '"tests/runtime/counted_new.h"',  # counts allocations
    '"tests/runtime/sweep.h"',  # interrupts an awaitable at every point
    '"tests/seeds.h"',  # runs a random test with many seeds
    '"tests/temporary_folder.h"',  # a folder for one test
    '"tests/tools/program.h"',  # runs a program
    '"kedge/mach/kernel/abi/',
    '"kedge/mach/kernel/core/',
    '"kedge/mach/kernel/embedded/',
    '"kedge/net/',
    '"tools/examples/http_request.h"',  # a parser
    '"tools/examples/keyd_service.h"',  # its Mach service
    '"tools/examples/keyd_store.h"',  # keys in a journal
    '"tools/examples/tls_stream.h"',
)

# Functions of Darwin's that need a caller. Core may use the numbers and structures of <mach/...>, not these.
CALLS = ("<mach/mach.h>", "<mach/mach_error.h>", "<mach/mach_init.h>", "<mach/mach_port.h>", "<mach/mach_traps.h>",
         "<mach/mach_vm.h>")

# What only a host's kernel folder, and one file of net, may know.
HOST_HEADERS = ("<asm/", "<byteswap.h>", "<endian.h>", "<features.h>", "<linux/", "<mach-o/", "<malloc.h>", "<sys/epoll.h>",
                "<sys/eventfd.h>", "<sys/inotify.h>", "<sys/pidfd.h>", "<sys/prctl.h>", "<sys/sendfile.h>",
                "<sys/signalfd.h>", "<sys/syscall.h>", "<sys/timerfd.h>")
HOST_WORDS = re.compile(
    r"\b(__linux__|__linux|__gnu_linux__|__GLIBC__|__APPLE__|__MACH__|TARGET_OS_\w+|"
    r"epoll_\w+|EPOLL\w+|eventfd|timerfd_\w+|signalfd|inotify_\w+|pidfd_\w+|memfd_\w+|prctl|gettid|SYS_\w+|"
    r"accept4|pipe2|dup3|SOCK_CLOEXEC|SOCK_NONBLOCK|MSG_NOSIGNAL|MSG_CMSG_CLOEXEC|POLLRDHUP|"
    r"SO_PEERCRED|SCM_CREDENTIALS|CLOCK_BOOTTIME|O_PATH|O_TMPFILE|"
    r"program_invocation_\w*name)\b|/proc/|/sys/|/dev/shm")

# The arrows: a room is the longest of these folders that a file lies in, and may include its own headers besides.
ARROWS = {
    "runtime/kqueue": ("<sys/event.h>", '"kedge/runtime/base/', '"kedge/runtime/kqueue/', '"kedge/runtime/kqueue/extension.h"', '"kedge/runtime/kqueue/filter.h"'),
    "runtime/base": ('"kedge/runtime/base/',),
    "runtime": ("<sys/event.h>", '"kedge/runtime/kqueue/extension.h"', '"kedge/runtime/', '"kedge/runtime/base/'),
    "mach/kernel/core": ("<mach/", "<servers/", '"kedge/mach/kernel/core/', '"kedge/runtime/base/'),
    "mach/kernel/abi": ('"kedge/mach/kernel/scheduling.h"', "<bsm/", "<mach/", "<servers/", "<sys/fileport.h>", '"kedge/mach/kernel/abi/', '"kedge/mach/kernel/core/',
                        '"kedge/mach/kernel/extension.h"', '"kedge/mach/kernel/snapshot.h"', '"kedge/runtime/base/'),
    "mach/kernel/embedded": ("<mach/", "<sys/event.h>", '"kedge/runtime/kqueue/filter.h"', '"kedge/mach/kernel/core/',
                             '"kedge/mach/kernel/embedded/', '"kedge/mach/kernel/extension.h"', '"kedge/runtime/base/'),
    "mach/kernel": ("<mach/", '"kedge/mach/kernel/extension.h"'),  # its public headers
    "mach": ("<mach/", "<servers/", '"kedge/mach/', '"kedge/mach/kernel/extension.h"', '"kedge/runtime/', '"kedge/runtime/base/'),
    "mach/darwin": ("<mach/", '"kedge/mach/', '"kedge/mach/darwin/', '"kedge/runtime/'),
    "net": ('"kedge/net/', '"kedge/runtime/', '"kedge/runtime/base/'),
    "tools": ('"kedge/mach/', '"kedge/net/', '"kedge/runtime/'),
    "tools/examples": ("<mach/", '"kedge/mach/', '"kedge/net/', '"kedge/runtime/', '"tools/examples/keyd_service.h"',
                       '"tools/examples/keyd_store.h"'),
    "tools/harness": ("<doctest/", "<mach/", "<sys/event.h>", '"kedge/tools/harness/', '"kedge/mach/kernel/extension.h"',
                      '"kedge/mach/kernel/scheduling.h"', '"kedge/mach/kernel/snapshot.h"', '"kedge/mach/', '"kedge/net/',
                      '"kedge/runtime/', '"kedge/runtime/base/', '"kedge/runtime/kqueue/extension.h"'),
    "tools/examples/harness": ("<doctest/", "<mach/", "<servers/", '"kedge/tools/harness/', '"kedge/mach/', '"kedge/runtime/'),
    "tools/examples/darwin": ('"kedge/mach/', '"kedge/mach/darwin/', '"kedge/runtime/'),
    "tools/examples/mig": ("<mach/", '"kedge/mach/', '"kedge/runtime/'),  # two of its programs are in C
    "tools/bench": ("<mach/", "<sys/event.h>", '"kedge/runtime/kqueue/extension.h"', '"kedge/mach/kernel/extension.h"',
                    '"kedge/mach/', '"kedge/net/', '"kedge/runtime/'),
    "tests": ("<doctest/",),
    "tests/runtime/kqueue/foreign": ("<sys/event.h>",),  # programs that know nothing of this project
    "tests/runtime/kqueue": ("<doctest/", "<sys/event.h>", '"kedge/runtime/base/', '"kedge/runtime/kqueue/extension.h"', '"kedge/runtime/kqueue/filter.h"',
                             '"tests/seeds.h"', '"tests/temporary_folder.h"'),
    "tests/runtime": ("<doctest/", "<sys/event.h>", '"kedge/runtime/kqueue/extension.h"', '"kedge/runtime/',
                      '"tests/temporary_folder.h"'),
    "tests/mach/kernel": ("<doctest/", "<bsm/", "<mach/", "<servers/", "<sys/event.h>", "<sys/fileport.h>", '"kedge/runtime/kqueue/extension.h"',
                          '"kedge/mach/kernel/abi/', '"kedge/mach/kernel/core/', '"kedge/mach/kernel/embedded/',
                          '"kedge/mach/kernel/extension.h"', '"kedge/mach/kernel/scheduling.h"', '"kedge/mach/kernel/snapshot.h"', '"kedge/runtime/base/',
                          '"tests/seeds.h"'),
    "tests/consumers": ("<doctest/", "<mach/", "<sys/event.h>", '"kedge/mach/', '"kedge/net/', '"kedge/runtime/',
                        '"tests/runtime/host.h"', '"tools/examples/tls_stream.h"'),  # programs of users
    "tests/mach/kernel/foreign": ("<bsm/", "<mach/", "<servers/", "<sys/fileport.h>"),  # the same
    "tests/conformance": ("<doctest/", "<mach/", "<sys/event.h>", '"kedge/mach/kernel/extension.h"',
                          '"kedge/mach/kernel/snapshot.h"', '"kedge/runtime/kqueue/extension.h"',
                          '"tests/seeds.h"', '"tests/tools/program.h"'),
    "tests/mach": ("<doctest/", "<mach/", "<servers/", '"kedge/mach/', '"kedge/mach/kernel/extension.h"',
                   '"kedge/mach/kernel/snapshot.h"', '"kedge/runtime/', '"tests/runtime/counted_new.h"',
                   '"tests/runtime/drain.h"', '"tests/runtime/in_child_process.h"', '"tests/runtime/sweep.h"', '"tests/seeds.h"'),
    "tests/harness": ("<doctest/", "<mach/", "<servers/", "<sys/event.h>", '"kedge/tools/harness/', '"kedge/mach/', '"kedge/net/',
                      '"kedge/mach/kernel/extension.h"', '"kedge/mach/kernel/scheduling.h"', '"kedge/runtime/',
                      '"kedge/runtime/base/', '"kedge/runtime/kqueue/extension.h"'),
    "tests/fuzz": ("<doctest/", "<mach/", '"kedge/mach/', '"kedge/mach/kernel/extension.h"', '"kedge/net/',
                   '"kedge/runtime/', '"tests/mach/hostile_sender.h"', '"tests/runtime/drain.h"', '"tests/seeds.h"',
                   '"tools/examples/http_request.h"'),
    "tests/tools": ("<doctest/", "<mach/", '"kedge/mach/', '"kedge/runtime/', '"tests/temporary_folder.h"',
                    '"tools/examples/keyd_service.h"', '"tools/examples/keyd_store.h"'),
    "tests/net": ("<doctest/", '"kedge/net/', '"kedge/runtime/', '"tests/runtime/counted_new.h"', '"tests/runtime/drain.h"',
                  '"tests/runtime/in_child_process.h"',
                  '"tests/runtime/sweep.h"', '"tests/seeds.h"', '"tests/temporary_folder.h"'),
}

# Rooms that may know the system they run on. Core is pure and not among them; a benchmark has a peer to beat.
KNOW_THE_HOST = ("tools/harness", "tests/harness", "runtime/kqueue", "mach/kernel", "mach/kernel/abi", "mach/kernel/embedded", "tests/consumers",
                 "tests/runtime/kqueue", "tests/mach/kernel", "tests/mach/kernel/foreign")
HOST_FILES = re.compile(r"(net/host\.(h|cc)|tools/bench/.*)$")

SHAPELESS_NAMES = {"utils", "util", "common", "helper", "helpers", "misc", "manager", "impl"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*(<[^>]*>|"[^"]*")', re.MULTILINE)
# Names that are gone, each with the name that took its place. The single words are English, and stay free in prose.
GONE_NAMES = {
    "answer_port": "reply_port", "call_at_once": "call_nonblocking", "kqueue_numbers": "kqueue_registry",
    "leave_out": "set_options", "look_at": "probe", "name_waiter_line": "waiter_queue", "number_close": "fd_watchers",
    "own_descriptors": "internal_fds", "private_ports": "reply_port_cache", "receive_now": "try_receive",
    "short_call": "fast_path", "short_way": "fast_path", "stack_share": "shard_of_stack", "time_limit": "deadline",
    "word_lock": "mutex", "write_marks": "low_water_poller",
}
GONE_WORDS = {"aftermath": "deferred_work", "sighting": "poll_result", "turnstile": "condition"}
LIBRARIES = ("runtime/", "mach/", "net/")
INTERRUPTED = "tests/expressions/interrupted_expressions.cc"  # shows what the forbidden places of a co_await do
LONGEST_FILE = 600  # lines of a file of a library
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
SNIPPET = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
# The class that an operator co_await is a member of: the last one that begins before it.
CLASS = re.compile(r"\b(?:class|struct)\s+(?:\[\[\w+\]\]\s*)?(\w+)(?:\s+final)?\s*(?::[^;{]*)?\{")
AWAITED = re.compile(r"(?<!\.)\boperator co_await\(\)")
SWEPT = re.compile(r'\bsweep<\w+>\(\s*"(\w+)"')
VERSION = {  # where the version stands, and how
    "runtime/version.h": re.compile(r'^#define KEDGE_VERSION_STRING "(.*)"$', re.MULTILINE),
    "MODULE.bazel": re.compile(r'^    version = "(.*)",$', re.MULTILINE),
    "tests/consumers/bazel/MODULE.bazel": re.compile(r'^bazel_dep\(name = "kedge", version = "(.*)"\)$', re.MULTILINE),
    "CHANGELOG.md": re.compile(r"^## \[?(\d[^] ]*)", re.MULTILINE),
}
VERSION_PARTS = re.compile(r"^#define KEDGE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", re.MULTILINE)


def room_of(path):
    rooms = [room for room in ARROWS if path.startswith(room + "/")]
    return max(rooms, key=len, default=None)


def place_of(include):
    return max((place for place in PLACES if include.startswith(place)), key=len, default=None)


def without_comments(text):
    """The text with comments blanked, line breaks and strings kept."""
    def blank(match):
        return match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])
    return COMMENT.sub(blank, text)


def is_private_header(tree, path, named):
    """True for a header of the same tool or test, named alone or from the top."""
    beside = os.path.join(os.path.dirname(path), named)
    found = [target for target in (beside, named) if os.path.isfile(os.path.join(tree, target))]
    return path.startswith(("tests/", "tools/")) and bool(found) and room_of(found[0]) == room_of(path)


def breaches_of_arrows(tree, path, text):
    room = room_of(path)
    may_know_host = room in KNOW_THE_HOST or HOST_FILES.match(path)
    for match in INCLUDE.finditer(text):
        include, place = match[1], place_of(match[1])
        line = text.count("\n", 0, match.start(1)) + 1
        if include.startswith('"kedge/') and not os.path.isfile(os.path.join(tree, include[7:-1])):
            yield line, f"{include} is not a file of this tree"
        if place is None and include.startswith('"'):
            if not is_private_header(tree, path, include[1:-1]):
                yield line, f"{room} may not include {include}"
        elif place is not None and place not in ARROWS[room]:
            yield line, f"{room} may not include {include}"
        elif room == "mach/kernel/core" and include in CALLS:
            yield line, f"{room} may not include {include}: it has no caller"
        elif include.startswith(HOST_HEADERS) and not may_know_host:
            yield line, f"{room} may not include {include}: it knows no host"
    if not may_know_host:
        for match in HOST_WORDS.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, f"{room} knows no host, and says {match[0]}"


def breaches_of_names(text, names):
    for match in re.finditer(r"\b(" + "|".join(names) + r")\b", text):
        yield text.count("\n", 0, match.start()) + 1, f"says {match[0]}, which is now {names[match[0]]}"


def breaches_of_snippets(tree, text):
    for match in SNIPPET.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        try:
            with open(os.path.join(tree, match[1]), encoding="utf-8") as file:
                if match[2] not in file.read():
                    yield line, f"this is not what {match[1]} says"
        except OSError:
            yield line, f"{match[1]} is not there"


def breaches_of_version(tree):
    """One version: that of the three numbers in runtime/version.h."""
    def text_of(path):
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            return file.read()
    version = ".".join(VERSION_PARTS.findall(text_of("runtime/version.h")))
    for path, place in VERSION.items():
        match = place.search(text_of(path))
        if match is None or match[1] != version:
            yield path, 1, f"does not give the version {version}"


def awaitables_in(code):
    """Yields the line of each operator co_await, and the name of its class."""
    for match in AWAITED.finditer(code):
        classes = CLASS.findall(code, 0, match.start())
        yield code.count("\n", 0, match.start()) + 1, classes[-1] if classes else "nothing"


def breaches_of_sweeps(awaitables, swept):
    """Every awaitable of the libraries is interrupted at every point, by a sweep in their tests."""
    for path, line, name in awaitables:
        if name not in swept:
            yield path, line, f"no test sweeps {name}"


def files_of(tree):
    """Paths of all files from the top, without what git or a build put there."""
    for folder, folders, files in os.walk(tree):
        folders[:] = sorted(name for name in folders
                            if name not in (".git", ".bazel", "out", "__pycache__") and not name.startswith("bazel-"))
        for name in sorted(files):
            yield os.path.relpath(os.path.join(folder, name), tree)


def breaches_of(tree):
    """Yields path, line and what is wrong there."""
    yield from breaches_of_version(tree)
    awaitables, swept = [], set()
    for path in files_of(tree):
        if SHAPELESS_NAMES & set(re.split(r"[/._-]", path)):
            yield path, 1, "a file is named for the one thing it defines"
        try:
            with open(os.path.join(tree, path), encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            continue
        if os.path.abspath(os.path.join(tree, path)) != os.path.abspath(__file__):
            for match in UNFINISHED.finditer(text):
                yield path, text.count("\n", 0, match.start()) + 1, f"says {match[0]}"
            for line, wrong in breaches_of_names(text, GONE_NAMES):
                yield path, line, wrong
        if path.endswith(".md"):
            for line, wrong in breaches_of_snippets(tree, text):
                yield path, line, wrong
        if path.endswith((".h", ".c", ".cc")):
            if room_of(path) is None:
                yield path, 1, "lies in no room of the house"
                continue
            if path.endswith(".h") and "/include/" not in path and "#pragma once" not in text:
                yield path, 1, "has no #pragma once"
            if path.startswith(LIBRARIES) and text.count("\n") > LONGEST_FILE:
                yield path, 1, f"has more than {LONGEST_FILE} lines"
            code = without_comments(text)
            for line, wrong in [*breaches_of_names(code, GONE_WORDS), *breaches_of_arrows(tree, path, code)]:
                yield path, line, wrong
            if path.startswith(LIBRARIES):
                awaitables += [(path, line, name) for line, name in awaitables_in(code)]
            elif path.startswith("tests/"):
                swept.update(SWEPT.findall(code))
            if path != INTERRUPTED:
                for line, place in forbidden_awaits(text):
                    yield path, line, f"co_await inside {place}: name the value first"
    yield from breaches_of_sweeps(awaitables, swept)


def main():
    tree = sys.argv[1] if len(sys.argv) > 1 else "."
    breaches = list(breaches_of(tree))
    for path, line, wrong in breaches:
        print(f"{path}:{line}: {wrong}")
    print(f"check: {len(breaches)} breaches of the rules of the house" if breaches else "check: the house is in order")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
