// cpu_time: reads the clock of the process.
#include "cpu_time.h"

#include <time.h>

namespace {

bool is_running = false;
bool has_sections = false;
std::uint64_t start = 0;
std::uint64_t in_sections = 0;

std::uint64_t cpu_now() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

void start_cpu_time() {
  is_running = true;
  has_sections = false;
  in_sections = 0;
  start = cpu_now();
}

std::uint64_t stop_cpu_time() {
  is_running = false;
  return has_sections ? in_sections : cpu_now() - start;
}

measured_section::measured_section() {
  if (!is_running) return;
  has_sections = true;
  begin_ = cpu_now();
}

measured_section::~measured_section() {
  if (is_running) in_sections += cpu_now() - begin_;
}
