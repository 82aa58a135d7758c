// space (core/space.h): allocation and reuse of names, tested without the C interface.
#include <doctest/doctest.h>

#include <deque>
#include <set>

#include "kedge/mach/kernel/core/space.h"

using kedge::mach::kernel::entry;
using kedge::mach::kernel::space;

namespace {

mach_port_name_t make(space& names) {
  entry* made = nullptr;
  const mach_port_name_t name = names.make(made);
  if (name == MACH_PORT_NULL) return name;
  made->type = MACH_PORT_TYPE_DEAD_NAME;
  return name;
}

std::uint32_t index_of(mach_port_name_t name) {
  return name >> 8;
}

}  // namespace

TEST_CASE("2^20 uses of one slot give each time a name other than the one before") {
  space names({.shuffled = false, .seed = 0, .first_index = 16});
  const mach_port_name_t other = make(names);
  mach_port_name_t before = make(names);
  const mach_port_name_t slot = before >> 8;
  names.free(before, *names.find(before));
  std::uint32_t wrong = 0;
  for (std::uint32_t use = 0; use < 1u << 20; ++use) {
    const mach_port_name_t name = make(names);
    // The stale name must not be in use, the slot must stay, and its neighbour must be unchanged.
    wrong += !MACH_PORT_VALID(name) || name == before || name >> 8 != slot ||
             names.find(before) != nullptr || names.find(other) == nullptr;
    names.free(name, *names.find(name));
    before = name;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a shuffled space gives no name again within the next 16,000") {
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

TEST_CASE(
    "two shuffled spaces give the same names for the same seed, and others for another seed") {
  space one({.shuffled = true, .seed = 1, .first_index = 0}),
      same({.shuffled = true, .seed = 1, .first_index = 0}),
      other({.shuffled = true, .seed = 5, .first_index = 0});
  std::uint32_t differ = 0;
  for (int each = 0; each < 1000; ++each) {
    const mach_port_name_t name = make(one);
    CAPTURE(each);
    CHECK(make(same) == name);
    differ += make(other) != name;
  }
  CHECK(differ > 900);
}

TEST_CASE("an ordered space gives the lowest index first, and a freed one at once") {
  space names({.shuffled = false, .seed = 0, .first_index = 0x1000});
  const mach_port_name_t first = make(names), second = make(names);
  CHECK(index_of(first) == 0x1000);
  CHECK(index_of(second) == 0x1001);
  names.free(first, *names.find(first));
  CHECK(index_of(make(names)) == 0x1000);
}
