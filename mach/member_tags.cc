// Implements member_tags.
#include "kedge/mach/member_tags.h"

#include <algorithm>
#include <span>
#include <unordered_set>
#include <utility>

#include "kedge/mach/set_members.h"

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
  const set_members members(name);
  if (!members) return;
  const std::span names = members.names();
  const std::unordered_set<mach_port_name_t> present(names.begin(), names.end());
  std::erase_if(tags_, [&](const auto& tag) { return !present.contains(tag.first); });
}

}  // namespace kedge::mach
