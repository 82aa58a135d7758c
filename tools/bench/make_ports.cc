#include <vector>

#include "benchmark.h"
#include "mach_port.h"

void make_ports(std::uint64_t n) {
  std::vector<mach_port_name_t> names;
  for (std::uint64_t i = 0; i < n; ++i) {
    mach_port_name_t made = MACH_PORT_NULL;
    throw_if_failed(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &made));
    names.push_back(made);
  }
  for (const mach_port_name_t each : names) {
    throw_if_failed(mach_port_mod_refs(mach_task_self(), each, MACH_PORT_RIGHT_RECEIVE, -1));
  }
}
