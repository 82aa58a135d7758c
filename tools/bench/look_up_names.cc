#include <vector>

#include "benchmark.h"
#include "mach_port.h"

namespace {

// Made once and kept, since make_ports measures their cost.
const std::vector<mach_port_name_t>& many_names() {
  static const auto names = [] {
    std::vector<mach_port_name_t> made(1'000'000);
    for (mach_port_name_t& each : made) {
      throw_if_failed(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &each));
    }
    return made;
  }();
  return names;
}

// In an order that the processor cannot predict.
void look_up(std::uint64_t n, std::size_t among) {
  const std::vector<mach_port_name_t>& names = many_names();
  std::uint32_t random = 1;
  for (std::uint64_t i = 0; i < n; ++i) {
    random = random * 1664525 + 1013904223;
    mach_port_type_t type = MACH_PORT_TYPE_NONE;
    throw_if_failed(
        mach_port_type(mach_task_self(), names[std::uint64_t{random} * among >> 32], &type));
  }
}

}  // namespace

void look_up_among_few(std::uint64_t n) {
  look_up(n, 1000);
}

void look_up_among_many(std::uint64_t n) {
  look_up(n, many_names().size());
}
