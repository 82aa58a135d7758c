// Implements member_tags.
#include "kedge/mach/member_tags.h"

#include <mach/vm_map.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace kedge::mach {

void member_tags::reserve(mach_port_name_t name) {
  if (tags_.size() >= next_sweep_) {
    drop_former_members(name);
    next_sweep_ = std::max<std::size_t>(64, 2 * tags_.size());
  }
  tags_.reserve(tags_.size() + 1);
  if (spare_) return;
  // No set has a member of this name.
  map one;
  one.try_emplace(MACH_PORT_NULL);
  spare_ = one.extract(one.begin());
}

void member_tags::set(mach_port_name_t port, mach_port_context_t guard,
                      std::uint64_t tag) noexcept {
  tags_.erase(port);
  map::node_type made = std::exchange(spare_, {});
  made.key() = port;
  made.mapped() = {guard, tag};
  tags_.insert(std::move(made));
}

// A port that is destroyed or moved into a message leaves its sets without a word.
void member_tags::drop_former_members(mach_port_name_t name) {
  mach_port_name_array_t members = nullptr;
  mach_msg_type_number_t count = 0;
  if (mach_port_get_set_status(mach_task_self(), name, &members, &count) != KERN_SUCCESS) return;
  const auto free_members = [&] {
    if (members == nullptr) return;
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(members),
                  count * sizeof *members);
  };
  try {
    const std::unordered_set<mach_port_name_t> present(members, members + count);
    std::erase_if(tags_, [&](const auto& tag) { return !present.contains(tag.first); });
  } catch (...) {
    free_members();
    throw;
  }
  free_members();
}

}  // namespace kedge::mach
