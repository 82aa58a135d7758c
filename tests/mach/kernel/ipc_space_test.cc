// space (core/ipc_space.h): allocation and reuse of names, tested without the C interface.
#include <doctest/doctest.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/core/ipc_space.h"

using kedge::mach::kernel::entry;
using kedge::mach::kernel::ipc_space;

namespace {

mach_port_name_t make(ipc_space& names) {
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
  ipc_space names({.shuffled = false, .seed = 0, .first_index = 16});
  const mach_port_name_t other = make(names);
  mach_port_name_t before = make(names);
  const mach_port_name_t slot = before >> 8;
  names.free(before, *names.find(before));
  std::uint32_t wrong = 0;
  for (std::uint32_t use = 0; use < 1u << 20; ++use) {
    const mach_port_name_t name = make(names);
    wrong += (name & 3) != 3;
    // The stale name must not be in use, the slot must stay, and its neighbour must be unchanged.
    wrong += !MACH_PORT_VALID(name) || name == before || name >> 8 != slot ||
             names.find(before) != nullptr || names.find(other) == nullptr;
    names.free(name, *names.find(name));
    before = name;
  }
  CHECK(wrong == 0);
}

// A shuffled space that remembers when each name was given last.
class watched_space {
 public:
  mach_port_name_t next() {
    const mach_port_name_t name = make(names_);
    ++made_;
    const auto [at, is_new] = last_.try_emplace(name, made_);
    if (!is_new) soonest_ = std::min(soonest_, made_ - std::exchange(at->second, made_));
    return name;
  }
  void free(mach_port_name_t name) { names_.free(name, *names_.find(name)); }
  // The fewest names, with the last, that were given until a name came again.
  std::uint32_t soonest() const { return soonest_; }

 private:
  ipc_space names_{{.shuffled = true, .seed = 7, .first_index = 0}};
  std::unordered_map<mach_port_name_t, std::uint32_t> last_;
  std::uint32_t made_ = 0;
  std::uint32_t soonest_ = ~0u;
};

// As long as the README says.
constexpr std::uint32_t distance = 63 * ipc_space::idle_slots;
static_assert(distance == 516096);

TEST_CASE(
    "a shuffled space gives a name again only after 516,096 others, if each is freed at once") {
  watched_space names;
  for (std::uint32_t use = 0; use < 2 * distance; ++use) names.free(names.next());
  CHECK(names.soonest() >= distance);
}

TEST_CASE("a shuffled space gives a name again as late when many names are freed together") {
  watched_space names;
  std::vector<mach_port_name_t> held(20000);
  for (std::uint32_t round = 0; round < 80; ++round) {
    for (mach_port_name_t& each : held) each = names.next();
    for (const mach_port_name_t each : held) names.free(each);
    for (int each = 0; each < 10; ++each) names.free(names.next());
  }
  CHECK(names.soonest() >= distance);
}

TEST_CASE("a space of few names has a small table") {
  ipc_space names({.shuffled = true, .seed = 7, .first_index = 0});
  for (int each = 0; each < 100; ++each) make(names);
  CHECK(names.table_size() < 512);
}

TEST_CASE(
    "two shuffled spaces give the same names for the same seed, and others for another seed") {
  ipc_space one({.shuffled = true, .seed = 1, .first_index = 0}),
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
  ipc_space names({.shuffled = false, .seed = 0, .first_index = 0x1000});
  const mach_port_name_t first = make(names), second = make(names);
  CHECK(index_of(first) == 0x1000);
  CHECK(index_of(second) == 0x1001);
  names.free(first, *names.find(first));
  CHECK(index_of(make(names)) == 0x1000);
}
