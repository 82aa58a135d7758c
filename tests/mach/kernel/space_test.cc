// The table of names (core/space.h), looked at from inside.
#include <doctest/doctest.h>

#include <deque>
#include <set>

#include "kedge/mach/kernel/core/space.h"

using kedge::mach::kernel::entry;
using kedge::mach::kernel::space;

namespace {

mach_port_name_t make(space& in) {
  entry* made = nullptr;
  const mach_port_name_t name = in.make(made);
  if (name == MACH_PORT_NULL) return name;
  made->type = MACH_PORT_TYPE_DEAD_NAME;
  return name;
}

std::uint32_t index_of(mach_port_name_t name) {
  return name >> 8;
}

}  // namespace

TEST_CASE("a slot is used again 2^20 times: each name is another than the one before") {
  space names({.shuffled = false, .seed = 0, .first_index = 16});
  const mach_port_name_t other = make(names);
  mach_port_name_t before = make(names);
  const mach_port_name_t slot = before >> 8;
  names.free(before, *names.find(before));
  std::uint32_t wrong = 0;
  for (std::uint32_t use = 0; use < 1u << 20; ++use) {
    const mach_port_name_t name = make(names);
    // Nor does the stale name mean anything, or the slot move, or its neighbour suffer.
    wrong += !MACH_PORT_VALID(name) || name == before || name >> 8 != slot ||
             names.find(before) != nullptr || names.find(other) == nullptr;
    names.free(name, *names.find(name));
    before = name;
  }
  CHECK(wrong == 0);
}

TEST_CASE("shuffled: of 2^20 names none is one of the last sixteen thousand") {
  space names({.shuffled = true, .seed = 7, .first_index = 0});
  std::set<mach_port_name_t> recent;
  std::deque<mach_port_name_t> order;
  std::uint32_t repeated = 0;
  for (std::uint32_t use = 0; use < 1u << 20; ++use) {
    const mach_port_name_t name = make(names);
    repeated += !recent.insert(name).second;
    order.push_back(name);
    if (order.size() > 16000) {
      recent.erase(order.front());
      order.pop_front();
    }
    names.free(name, *names.find(name));
  }
  CHECK(repeated == 0);
}

TEST_CASE("the same seed gives the same names, another one others") {
  space one({.shuffled = true, .seed = 1, .first_index = 0}),
      same({.shuffled = true, .seed = 1, .first_index = 0}),
      other({.shuffled = true, .seed = 5, .first_index = 0});
  std::uint32_t differ = 0;
  for (int each = 0; each < 1000; ++each) {
    const mach_port_name_t name = make(one);
    CHECK(make(same) == name);
    differ += make(other) != name;
  }
  CHECK(differ > 900);
}

TEST_CASE("ordered: the lowest first, a freed one at once") {
  space names({.shuffled = false, .seed = 0, .first_index = 0x1000});
  const mach_port_name_t first = make(names), second = make(names);
  CHECK(index_of(first) == 0x1000);
  CHECK(index_of(second) == 0x1001);
  names.free(first, *names.find(first));
  CHECK(index_of(make(names)) == 0x1000);
}
