// ipc_space: the names of one task (Darwin: ipc_space, ipc_entry.c).
//
// A name is an index into the table and, in its low eight bits, a generation. As on Darwin the two
// lowest bits are always set, so a slot has 64 generations (IE_BITS_GEN_ONE). The generation
// changes each time the slot is used again, so that a stale name is an unknown name. Locks: `lock`
// guards everything, and is taken before the lock of any port.
#pragma once

#include <mach/kern_return.h>
#include <mach/port.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kedge/mach/kernel/core/fault_points.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/space_lock.h"

namespace kedge::mach::kernel {

class port;

// How new names are chosen. Shuffled: slots in an order drawn from the seed, and a freed slot is
// used again only while `ipc_space::idle_slots` others are free, the one that was freed first.
// Ordered: the lowest slot first, and a freed one at once, as a replay of recordings needs.
struct name_policy {
  bool shuffled = true;
  std::uint64_t seed = 1;
  // The index of the first name that is not reserved. It keeps the names of a replay's tasks
  // disjoint.
  std::uint32_t first_index = 1;
};

// Reserved names, which stand for the same kind of right in every space.
inline constexpr mach_port_name_t task_self_name = 0x103;
inline constexpr mach_port_name_t thread_self_name = 0x203;
inline constexpr mach_port_name_t host_self_name = 0x303;
inline constexpr mach_port_name_t bootstrap_name = 0x403;
inline constexpr std::uint32_t reserved_size = 5;  // indices below it

// The bits that every name has (Darwin: ipc_entry_name_mask), and the distance of two generations.
inline constexpr std::uint8_t generation_bits = 3;
inline constexpr std::uint8_t generation_step = 4;

struct entry {
  object* target = nullptr;                     // with a reference; null in a dead name
  mach_port_type_t type = MACH_PORT_TYPE_NONE;  // the rights; NONE: the slot is free
  mach_port_urefs_t urefs = 0;                  // of the send rights, or of the dead name
  std::uint32_t request = 0;                    // slot in the port's request table; 0: none
  std::uint32_t previous = 0, next = 0;  // in the list of free slots; `next` also in a hash chain
  std::uint8_t generation = generation_bits;
  bool was_used = false;  // the slot has had a name
  bool pinned = false;    // the last user reference cannot be released
  // It was a receive right (Darwin: EX_RECEIVE). Calls that take it for one still fail, but raise
  // no guard exception.
  bool had_receive = false;
};

class ipc_space {
 public:
  explicit ipc_space(const name_policy& policy, faults_of_task by_plan = {});
  ipc_space(const ipc_space&) = delete;
  ipc_space& operator=(const ipc_space&) = delete;

  // So many free slots keep a freed one idle: a name comes again only after 63 times as many others
  // (64 generations, of which the first reuse may come early).
  static constexpr std::uint32_t idle_slots = 8192;

  const faults_of_task faults;  // of the task
  space_lock lock;
  bool active = true;
  // Not counting the reserved names. A lower limit leaves existing names alone.
  std::uint32_t max_names = 1u << 22;

  // The entry of a name in use, or null. Valid until the next name is made. A shard of the lock is
  // enough.
  entry* find(mach_port_name_t name) noexcept {
    const std::uint32_t index = name >> 8;
    if (index >= entries_.size()) return nullptr;
    entry& found = entries_[index];
    return found.type != MACH_PORT_TYPE_NONE && found.generation == (name & 0xff) ? &found
                                                                                  : nullptr;
  }

  // Makes a new name, whose entry the caller fills in. Returns MACH_PORT_NULL if there are no more
  // names or memory is short.
  mach_port_name_t make(entry*& made) noexcept;
  // Finds the slot of a name that the caller chose, in the order of Darwin's ipc_entry_alloc_name:
  // KERN_NO_SPACE (no table has such an index), KERN_INVALID_VALUE (no name has this generation;
  // only if `checks_generation`), KERN_FAILURE (the slot is reserved, or used under another name),
  // KERN_RESOURCE_SHORTAGE. Success: `found` is the entry under this very name, or a free slot, for
  // which there is room, and which take_slot() takes. Valid until the next name is made.
  kern_return_t find_slot(mach_port_name_t name, bool checks_generation, entry*& found) noexcept;
  // Gives a free slot that find_slot() has found its name. The caller fills in the entry.
  void take_slot(mach_port_name_t name, entry& free) noexcept;
  // The same with a reserved name.
  void make_reserved(mach_port_name_t name, entry*& made) noexcept { made = &entries_[name >> 8]; }
  // Frees the slot. The caller must have taken the reference out of the entry.
  void free(mach_port_name_t name, entry& gone) noexcept;

  // The send rights without a receive right, by port. find_send() returns the name, or
  // MACH_PORT_NULL.
  mach_port_name_t find_send(const port& target) const noexcept;
  void remember_send(const port& target, mach_port_name_t name) noexcept;
  void forget_send(const port& target, mach_port_name_t name) noexcept;

  // Calls visit(name, entry&) for every name in use, by ascending index.
  template <typename Visitor>
  void each(Visitor&& visit) {
    for (std::uint32_t index = 1; index < entries_.size(); ++index) {
      // There are no names between the reserved ones and the first index.
      if (index == reserved_size) index = std::max(index, policy_.first_index);
      if (index == entries_.size()) return;
      entry& found = entries_[index];
      if (found.type != MACH_PORT_TYPE_NONE) visit(index << 8 | found.generation, found);
    }
  }
  std::uint32_t names_in_use() const noexcept {
    return table_size() - std::max(reserved_size, policy_.first_index) - free_count_;
  }
  std::uint32_t table_size() const noexcept { return static_cast<std::uint32_t>(entries_.size()); }
  // Whatever is at an index below table_size(), free or not.
  const entry& slot_at(std::uint32_t index) const noexcept { return entries_[index]; }
  // The name in use at an index, or MACH_PORT_NULL.
  mach_port_name_t name_at(std::uint32_t index) const noexcept {
    if (index >= entries_.size()) return MACH_PORT_NULL;
    const entry& found = entries_[index];
    return found.type == MACH_PORT_TYPE_NONE ? MACH_PORT_NULL : index << 8 | found.generation;
  }

 private:
  // Returns false if the table cannot be larger or memory is short.
  bool grow(std::uint32_t size) noexcept;
  void spread_sends() noexcept;
  void add_free(std::uint32_t index, bool first) noexcept;
  bool must_grow() const noexcept;
  void remove_free(std::uint32_t index) noexcept;
  bool is_full() const noexcept;
  std::uint32_t choose_slot() noexcept;
  std::uint64_t draw() noexcept;
  std::size_t bucket(const port& target) const noexcept;

  const name_policy policy_;
  std::uint64_t random_;
  std::vector<entry> entries_;  // index 0 heads the ring of free slots
  std::uint32_t free_count_ = 0;
  std::uint32_t freed_last_ = 0;        // an index that has had a name, or 0
  std::vector<std::uint32_t> buckets_;  // indices of send rights' entries, by port
  std::uint32_t sends_ = 0;
};

}  // namespace kedge::mach::kernel
