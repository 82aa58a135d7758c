"""Prints how long a program of 200 lines that awaits, spawns and times out compiles, as a ratio.

Usage: compile_time.py [COMPILER]. The ratio is that of the user time at -O0 to the user time of a file that includes the same
standard headers and no more. Times vary, so both are compiled in turn, the median of the ratios is printed, and nothing is
asserted. Exits with 1 if the program does not compile.
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
REPETITIONS = 5
HEADERS = ("chrono", "cstddef", "span"), ("descriptor", "loop", "scope", "sleep", "task", "when_all", "when_any", "with_scope",
                                          "with_timeout", "yield")
BLOCK = """
namespace block_N {

kedge::task<int> leaf(int n) {
  if (n % 2 == 0) co_await kedge::yield();
  co_await kedge::sleep_for(std::chrono::milliseconds(n));
  co_return n;
}
kedge::task<std::size_t> read_all(kedge::descriptor& in) {
  std::byte buffer[4096];
  std::size_t total = 0;
  for (;;) {
    const auto n = co_await kedge::with_timeout(std::chrono::seconds(5), in.read_some(buffer));
    if (!n) co_return total;
    total += *n;
  }
}
kedge::task<int> both(int n) {
  const auto [a, b] = co_await kedge::when_all(leaf(n), leaf(n + 1));
  co_return a + b;
}
kedge::task<bool> first(kedge::descriptor& in) {
  const auto [size, done] = co_await kedge::when_any(read_all(in), kedge::sleep_for(std::chrono::seconds(1)));
  co_return size.has_value();
}
kedge::task<int> serve(kedge::descriptor& in) {
  int total = 0;
  co_await kedge::with_scope([&](kedge::scope& s) -> kedge::task<> {
    s.spawn(leaf, 1);
    s.spawn([&]() -> kedge::task<> { total += co_await both(2); });
    s.spawn([&]() -> kedge::task<> { total += co_await first(in) ? 1 : 0; });
    const auto n = co_await kedge::with_timeout(std::chrono::seconds(1), both(3));
    if (!n) s.cancel();
  });
  co_return total;
}

}  // namespace block_N
"""
MAIN = """
int main() {
  kedge::loop loop;
  kedge::descriptor in(loop, 0, kedge::ownership::borrowed);
  return CALLS;
}
"""
LINES = 200


def program():
    """Returns the text, of 200 lines."""
    standard, ours = HEADERS
    text = "".join(f"#include <{name}>\n" for name in standard) + "".join(f'#include "kedge/runtime/{name}.h"\n' for name in ours)
    blocks = (LINES - (text + MAIN).count("\n")) // BLOCK.count("\n")
    text += "".join(BLOCK.replace("N\n", f"{i}\n").replace("_N ", f"_{i} ") for i in range(blocks))
    text += MAIN.replace("CALLS", " + ".join(f"loop.run(block_{i}::serve(in))" for i in range(blocks)))
    return text + "// \n" * (LINES - text.count("\n"))


def standard_headers(command):
    """Returns the standard headers that the program and our headers include, from the compiler's list of all."""
    listing = subprocess.run([*command, "-fsyntax-only", "-H"], capture_output=True, text=True, check=True).stderr
    found, ours = {}, {0: True}  # ours: whether the latest header of a depth is one of this tree
    for dots, path in re.findall(r"^(\.+)!? (.*)$", listing, re.MULTILINE):
        depth = len(dots)
        ours[depth] = "/kedge/" in path
        if ours[depth - 1] and not ours[depth]:
            found[path] = None
    return list(found)


def user_time(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([*command, "-O0", "-c", "-o", os.devnull], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main():
    compiler = (sys.argv[1:] or ["g++"])[0]
    with tempfile.TemporaryDirectory() as home:
        os.symlink(TREE, os.path.join(home, "kedge"))
        flags = [compiler, "-std=c++20", "-w", "-I", home]
        if sys.platform != "darwin":
            flags += ["-isystem", f"{home}/kedge/runtime/kqueue/include"]
        ours, bare = os.path.join(home, "ours.cc"), os.path.join(home, "bare.cc")
        with open(ours, "w", encoding="utf-8") as file:
            file.write(program())
        with open(bare, "w", encoding="utf-8") as file:
            file.writelines(f'#include "{path}"\n' for path in standard_headers([*flags, ours]))
        times = [(user_time([*flags, ours]), user_time([*flags, bare])) for _ in range(REPETITIONS)]
    ratio = statistics.median(a / b for a, b in times)
    seconds = [statistics.median(each) for each in zip(*times)]
    print(f"compile time: {ratio:.2f} times that of the same standard headers ({seconds[0]:.2f} s and {seconds[1]:.2f} s)")


if __name__ == "__main__":
    main()
