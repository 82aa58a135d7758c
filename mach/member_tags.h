// member_tags: the tags of a port set's members, by the names of their ports.
//
// A name is used again when its port has gone. So a tag belongs to the port with the guard that the
// member had: each receive_right has a guard of its own, and the kernel writes it into the trailer
// of each message.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace kedge::mach {

class member_tags {
 public:
  // Makes room for one more tag. Drops first those of ports that have left the set `name` unseen,
  // if there are many. Throws std::bad_alloc.
  void reserve(mach_port_name_t name);
  // Requires reserve(), after which only erase() was called.
  void set(mach_port_name_t port, mach_port_context_t guard, std::uint64_t tag) noexcept;
  void erase(mach_port_name_t port) noexcept { tags_.erase(port); }

  // Returns 0 if there is none.
  std::uint64_t find(mach_port_name_t port, mach_port_context_t guard) const noexcept {
    const auto found = tags_.find(port);
    return found != tags_.end() && found->second.guard == guard ? found->second.tag : 0;
  }

 private:
  struct entry {
    mach_port_context_t guard;
    std::uint64_t tag;
  };
  using map = std::unordered_map<mach_port_name_t, entry>;

  void drop_former_members(mach_port_name_t name);

  map tags_;
  typename map::node_type spare_;  // what set() uses
  std::size_t next_sweep_ = 64;
};

}  // namespace kedge::mach
