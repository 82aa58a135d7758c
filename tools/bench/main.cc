// bench: what the runtime costs. See `usage`.
//
// Counts per operation are differences between two runs of different length, divided by the
// difference of the lengths, so that what happens once drops out. Times are CPU time and vary with
// the machine; counts do not.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "allocations.h"
#include "benchmark.h"
#include "counted_run.h"

namespace {

const char usage[] =
    "Usage: bench [-n N] [-o NAME] [--counts | --once]\n"
    "Prints lines \"kedge NAME_METRIC value unit\".\n"
    "\n"
    "  -n N       operations per run (100000)\n"
    "  -o NAME    only this benchmark\n"
    "  --counts   allocations and system calls only\n"
    "  --once     run the one named, print nothing: for tools that count from outside\n"
    "\n";

struct arguments {
  std::uint64_t n = 100'000;
  std::string only;
  bool counts = false;
  bool once = false;
};

std::uint64_t cpu_now() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

void print(const benchmark& b, const char* metric, double value, const char* unit) {
  std::printf("kedge %s_%s %.6g %s\n", b.name, metric, value, unit);
  std::fflush(stdout);
}

// What `measure` says of n more operations, per operation.
template <class Measure>
std::optional<double> per_operation(std::uint64_t n, Measure measure) {
  constexpr std::uint64_t start_up = 1000;
  const auto shorter = measure(start_up);
  const auto longer = measure(start_up + n);
  if (!shorter || !longer) return std::nullopt;
  return (static_cast<double>(*longer) - static_cast<double>(*shorter)) / static_cast<double>(n);
}

void measure_inside(const benchmark& b, const arguments& a) {
  kedge::loop loop;
  // Fills caches and free lists, those of what a run leaves behind included.
  for (int i = 0; i < 2; ++i) loop.run(b.run(loop, 1000));
  const auto allocated = per_operation(a.n, [&](std::uint64_t n) {
    const std::uint64_t before = allocations();
    loop.run(b.run(loop, n));
    return std::optional(allocations() - before);
  });
  const auto time = per_operation(a.n, [&](std::uint64_t n) {
    const std::uint64_t before = cpu_now();
    loop.run(b.run(loop, n));
    return std::optional(cpu_now() - before);
  });
  if (!a.counts) print(b, "cpu", *time, "ns");
  print(b, "allocs", *allocated, "allocs/op");
}

void measure_outside(const benchmark& b, const arguments& a, const char* self) {
  const auto once = [&](std::uint64_t n) {
    return std::vector<std::string>{self, "--once", "-o", b.name, "-n", std::to_string(n)};
  };
  constexpr std::uint64_t counted = 6400;
  const auto calls =
      per_operation(counted, [&](std::uint64_t n) { return count_system_calls(once(n)); });
  if (calls) {
    print(b, "calls", *calls, "calls/op");
  } else {
    std::fprintf(stderr, "bench: %s: system calls cannot be counted here\n", b.name);
  }
  if (a.counts) return;
  const auto instructions =
      per_operation(counted, [&](std::uint64_t n) { return count_instructions(once(n)); });
  if (instructions) {
    print(b, "instr", *instructions, "instr/op");
  } else {
    std::fprintf(stderr, "bench: %s: instructions are counted where valgrind is\n", b.name);
  }
}

bool parse(int argc, char** argv, arguments& a) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--counts") {
      a.counts = true;
    } else if (word == "--once") {
      a.once = true;
    } else if (word == "-n" && i + 1 < argc) {
      a.n = std::strtoull(argv[++i], nullptr, 10);
    } else if (word == "-o" && i + 1 < argc) {
      a.only = argv[++i];
    } else {
      return false;
    }
  }
  const bool known = std::any_of(std::begin(benchmarks), std::end(benchmarks),
                                 [&a](const benchmark& b) { return a.only == b.name; });
  return a.n != 0 && (a.only.empty() ? !a.once : known);
}

void run(const benchmark& b, const arguments& a, const char* self) {
  if (a.once) {
    kedge::loop loop;
    loop.run(b.run(loop, a.n));
    std::_Exit(0);  // what happens at exit is not what is counted
  }
  measure_inside(b, a);
  measure_outside(b, a, self);
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  if (!parse(argc, argv, a)) {
    std::fputs(usage, stderr);
    for (const benchmark& b : benchmarks) std::fprintf(stderr, "  %-9s%s\n", b.name, b.what);
    return 2;
  }
  try {
    for (const benchmark& b : benchmarks) {
      if (a.only.empty() || a.only == b.name) run(b, a, argv[0]);
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
