// Implements leaks_between() and leaks_since(): compares the rights of two snapshots, name by name.
#include <algorithm>

#include "kedge/mach/kernel/snapshot.h"

namespace kedge::mach::kernel {
namespace {

const snapshot::space* space_of(const snapshot& in, task owner) {
  const auto found =
      std::find_if(in.spaces.begin(), in.spaces.end(),
                   [owner](const snapshot::space& each) { return each.owner == owner; });
  return found != in.spaces.end() ? &*found : nullptr;
}

const snapshot::right* right_of(const snapshot::space* in, mach_port_name_t name) {
  if (in == nullptr) return nullptr;
  const auto found =
      std::find_if(in->rights.begin(), in->rights.end(),
                   [name](const snapshot::right& each) { return each.name == name; });
  return found != in->rights.end() ? &*found : nullptr;
}

// Returns whether the name has a kind of right that it did not have. A right whose port has died is
// not a new one.
bool has_new_kind(mach_port_type_t before, mach_port_type_t now) {
  if (before != MACH_PORT_TYPE_NONE && (now & MACH_PORT_TYPE_DEAD_NAME) != 0) return false;
  return (now & MACH_PORT_TYPE_ALL_RIGHTS & ~before) != 0;
}

bool is_kept(const snapshot& in, const snapshot::right& right, port_purpose purpose) {
  if (purpose == nullptr || (right.type & MACH_PORT_TYPE_RECEIVE) == 0) return false;
  const auto found =
      std::find_if(in.ports.begin(), in.ports.end(),
                   [&right](const snapshot::port& each) { return each.id == right.of; });
  return found != in.ports.end() && found->guarded && purpose(found->context) != nullptr;
}

}  // namespace

std::vector<leak> leaks_between(const snapshot& before, const snapshot& after, port_purpose kept) {
  std::vector<leak> all;
  for (const snapshot::space& space : after.spaces) {
    const snapshot::space* const former = space_of(before, space.owner);
    for (const snapshot::right& right : space.rights) {
      const snapshot::right* const was = right_of(former, right.name);
      const mach_port_urefs_t references = was != nullptr ? was->references : 0;
      const mach_port_type_t type = was != nullptr ? was->type : MACH_PORT_TYPE_NONE;
      if (right.references <= references && !has_new_kind(type, right.type)) continue;
      if (!is_kept(after, right, kept)) all.push_back({space.owner, right, references});
    }
  }
  return all;
}

std::vector<leak> leaks_since(const snapshot& before, port_purpose kept) {
  return leaks_between(before, take_snapshot(), kept);
}

}  // namespace kedge::mach::kernel
