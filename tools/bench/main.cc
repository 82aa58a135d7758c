// bench: measures the cost of operations of the library. See `usage`.
//
// A count per operation is the difference of two runs of different length, divided by the
// difference of the lengths, so that one-time costs drop out. Times are CPU time of all threads,
// and vary with the machine. A benchmark with peers is measured in turn with them, and the median
// of the ratios to each is printed. Counts do not vary.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "allocations.h"
#include "benchmark.h"
#include "counted_run.h"
#include "cpu_time.h"

namespace {

const char usage[] =
    "Usage: bench [-n N] [-o NAME] [--counts | --no-time | --once]\n"
    "       bench --held\n"
    "Prints lines \"kedge NAME_METRIC value unit\".\n"
    "\n"
    "  -n N       operations per run (default of most: 100000)\n"
    "  -o NAME    only this benchmark, or those whose names begin with NAME and _\n"
    "  --counts   allocations and system calls only\n"
    "  --no-time  these and instructions\n"
    "  --once     run the benchmark NAME once and print nothing, for tools that count from "
    "outside\n"
    "  --held     only list the benchmarks whose counts are held\n"
    "\n";

struct arguments {
  std::uint64_t n = 0;  // 0: each benchmark's default
  std::string only;
  bool times = true;
  bool instructions = true;
  bool once = false;
};

void print(const benchmark& b, const char* metric, double value, const char* unit) {
  std::printf("kedge %s_%s %.6g %s\n", b.name, metric, value, unit);
  std::fflush(stdout);
}

// Returns the cost of one operation, from the costs of two runs that differ by n operations.
// Returns nothing if `measure` does.
template <class Measure>
std::optional<double> per_operation(std::uint64_t n, Measure measure) {
  const std::uint64_t start_up = std::min<std::uint64_t>(n, 1000);
  const auto shorter = measure(start_up);
  const auto longer = measure(start_up + n);
  if (!shorter || !longer) return std::nullopt;
  return (static_cast<double>(*longer) - static_cast<double>(*shorter)) / static_cast<double>(n);
}

double time_of(const benchmark& b, std::uint64_t n) {
  return *per_operation(n, [&](std::uint64_t times) {
    start_cpu_time();
    b.run(times);
    return std::optional(stop_cpu_time());
  });
}

double median(std::vector<double> of) {
  const auto middle = of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2);
  std::nth_element(of.begin(), middle, of.end());
  return *middle;
}

const benchmark& find(std::string_view name) {
  return *std::find_if(std::begin(benchmarks), std::end(benchmarks),
                       [&](const benchmark& each) { return each.name == name; });
}

// The ratio to a peer, in each round of measurements.
struct comparison {
  const benchmark& peer;
  std::vector<double> ratios;
};

void measure_time(const benchmark& b, std::uint64_t n) {
  std::vector<comparison> comparisons;
  for (const char* const name : b.on.than.names) {
    if (name != nullptr) comparisons.push_back({find(name), {}});
  }
  if (comparisons.empty()) return print(b, "cpu", time_of(b, n), "ns");
  // In turn with its peers, since the load of the machine changes.
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) {
    times.push_back(time_of(b, n));
    for (comparison& each : comparisons) {
      each.ratios.push_back(times.back() / time_of(each.peer, n));
    }
  }
  print(b, "cpu", median(times), "ns");
  for (comparison& each : comparisons) {
    print(b, "ratio", median(each.ratios), each.peer.name);
  }
}

void measure_inside(const benchmark& b, const arguments& a, std::uint64_t n) {
  // Fills caches and free lists first. Twice, since a run also leaves memory in free lists.
  for (int i = 0; i < 2; ++i) b.run(std::min<std::uint64_t>(n, 1000));
  const auto allocated = per_operation(n, [&](std::uint64_t times) {
    const std::uint64_t before = allocations();
    b.run(times);
    return std::optional(allocations() - before);
  });
  const auto peak = per_operation(n, [&](std::uint64_t times) {
    const std::uint64_t before = start_peak();
    b.run(times);
    return std::optional(peak_bytes() - before);
  });
  if (a.times) measure_time(b, n);
  print(b, "allocs", *allocated, "allocs/op");
  print(b, "bytes", *peak, "bytes/op");
}

void measure_outside(const benchmark& b, const arguments& a, std::uint64_t n, const char* self) {
  const auto once = [&](std::uint64_t times) {
    return std::vector<std::string>{self, "--once", "-o", b.name, "-n", std::to_string(times)};
  };
  const auto calls = per_operation(std::min<std::uint64_t>(n, 1600), [&](std::uint64_t times) {
    return count_system_calls(once(times));
  });
  if (calls) {
    print(b, "calls", *calls, "calls/op");
  } else {
    std::fprintf(stderr, "bench: %s: system calls cannot be counted here\n", b.name);
  }
  if (!a.instructions || !b.on.one_thread) return;
  const auto instructions =
      per_operation(std::min<std::uint64_t>(n, 6400),
                    [&](std::uint64_t times) { return count_instructions(once(times)); });
  if (instructions) {
    print(b, "instr", *instructions, "instr/op");
  } else {
    std::fprintf(stderr, "bench: %s: instructions cannot be counted without valgrind\n", b.name);
  }
}

bool is_selected(const benchmark& b, const arguments& a) {
  const std::string_view name = b.name;
  return a.only.empty() || name == a.only ||
         (!a.once && name.substr(0, a.only.size() + 1) == a.only + "_");
}

bool is_held(const benchmark& b) {
  return b.on.held || std::string_view(b.name).starts_with("runtime_");
}

bool parse(int argc, char** argv, arguments& a) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--counts") {
      a.times = a.instructions = false;
    } else if (word == "--no-time") {
      a.times = false;
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
                                 [&a](const benchmark& b) { return is_selected(b, a); });
  return known && !(a.once && a.only.empty());
}

void run(const benchmark& b, const arguments& a, const char* self) {
  if (b.on.size != 0) return print(b, "bytes", static_cast<double>(b.on.size), "bytes");
  const std::uint64_t n = std::min(a.n != 0 ? a.n : b.on.n, b.on.most);
  if (b.on.late != nullptr) return print(b, "p99", b.on.late(n), "us");
  if (a.once) {
    b.run(n);
    std::_Exit(0);  // keeps the exit's work out of the counts
  }
  const std::string lacks = b.on.lacks != nullptr ? b.on.lacks() : std::string();
  if (!lacks.empty()) std::fprintf(stderr, "bench: %s: %s\n", b.name, lacks.c_str());
  measure_inside(b, a, n);
  measure_outside(b, a, n, self);
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  if (argc == 2 && std::string_view(argv[1]) == "--held") {
    for (const benchmark& b : benchmarks) {
      if (is_held(b)) std::printf("%s %s\n", b.name, b.operation);
    }
    return 0;
  }
  if (!parse(argc, argv, a)) {
    std::fputs(usage, stderr);
    for (const benchmark& b : benchmarks) std::fprintf(stderr, "  %-22s%s\n", b.name, b.operation);
    return 2;
  }
  try {
    for (const benchmark& b : benchmarks) {
      if (is_selected(b, a)) run(b, a, argv[0]);
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
