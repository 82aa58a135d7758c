// cpu_time: the CPU time of all threads that a run of a benchmark takes.
//
//     start_cpu_time();
//     b.run(n);
//     ... stop_cpu_time() ...
//
// A run that makes a measured_section is measured within its sections alone. So the work of clients
// on the same thread is left out. Outside of start and stop a section asks no clock, so that it
// adds nothing to counts. Threads: one.
#pragma once

#include <cstdint>

void start_cpu_time();
// Returns nanoseconds.
std::uint64_t stop_cpu_time();

class measured_section {
 public:
  measured_section();
  measured_section(const measured_section&) = delete;
  measured_section& operator=(const measured_section&) = delete;
  ~measured_section();

 private:
  std::uint64_t begin_ = 0;
};
