// The table of names (Darwin: ipc_entry_alloc, ipc_entry_dealloc; ipc_hash.c).
#include "kedge/mach/kernel/core/ipc_space.h"

#include <algorithm>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

constexpr std::uint32_t max_size = 1u << 22;

// How far a name that the caller chooses grows the table. It is the size of Darwin's tables at most
// (CONFIG_IPC_TABLE_ENTRIES_SIZE_MAX): growth to the index of a wild name costs under the lock.
constexpr std::uint32_t max_chosen_size = 305834;

}  // namespace

ipc_space::ipc_space(const name_policy& policy, faults_of_task by_plan)
    : faults(by_plan), policy_(policy), random_(policy.seed | 1), buckets_(64) {
  entries_.resize(std::max(reserved_size, policy.first_index));
}

std::uint64_t ipc_space::draw() noexcept {
  // splitmix64
  std::uint64_t mixed = random_ += 0x9e3779b97f4a7c15u;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  return mixed ^ (mixed >> 31);
}

void ipc_space::add_free(std::uint32_t index, bool first) noexcept {
  const std::uint32_t before = first ? 0 : entries_[0].previous;
  const std::uint32_t after = entries_[before].next;
  entries_[index].previous = before;
  entries_[index].next = after;
  entries_[before].next = index;
  entries_[after].previous = index;
  ++free_count_;
}

void ipc_space::remove_free(std::uint32_t index) noexcept {
  entries_[entries_[index].previous].next = entries_[index].next;
  entries_[entries_[index].next].previous = entries_[index].previous;
  entries_[index].previous = entries_[index].next = 0;
  --free_count_;
}

bool ipc_space::grow(std::uint32_t size) noexcept try {
  if (size > max_size) return false;
  const std::uint32_t old_size = table_size();
  std::vector<std::uint32_t> order(size - old_size);
  entries_.resize(size);
  for (std::uint32_t each = 0; each < order.size(); ++each) order[each] = old_size + each;
  for (std::size_t left = order.size(); policy_.shuffled && left > 1; --left) {
    std::swap(order[left - 1], order[draw() % left]);
  }
  for (const std::uint32_t index : order) {
    if (policy_.shuffled) entries_[index].generation |= static_cast<std::uint8_t>(draw());
    // A shuffled space uses its new slots before those that are used again.
    add_free(index, policy_.shuffled);
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

// Whether the next free slot would be used again too soon.
bool ipc_space::must_grow() const noexcept {
  const std::uint32_t next = entries_[0].next;
  return next == 0 || (policy_.shuffled && entries_[next].was_used && free_count_ < idle_slots);
}

bool ipc_space::is_full() const noexcept {
  return names_in_use() >= max_names || faults.happens(fault_point::no_name);
}

// Returns the free slot of the next name, or 0.
std::uint32_t ipc_space::choose_slot() noexcept {
  const bool is_free = freed_last_ != 0 && entries_[freed_last_].type == MACH_PORT_TYPE_NONE;
  if (!is_free || !faults.planned() || !faults.happens(fault_point::name_reuse)) {
    return entries_[0].next;
  }
  // The name comes again at once, as it does after all generations of its slot were used.
  entries_[freed_last_].generation =
      static_cast<std::uint8_t>(entries_[freed_last_].generation - generation_step);
  return freed_last_;
}

mach_port_name_t ipc_space::make(entry*& made) noexcept {
  if (is_full()) return MACH_PORT_NULL;
  if (must_grow()) {
    // A table that cannot grow uses its slots again earlier.
    grow(std::min(max_size, table_size() + std::max(table_size(), 256u)));
  }
  const std::uint32_t index = choose_slot();
  if (index == 0) return MACH_PORT_NULL;
  remove_free(index);
  made = &entries_[index];
  made->was_used = true;
  return index << 8 | made->generation;
}

kern_return_t ipc_space::find_slot(mach_port_name_t name, bool checks_generation,
                                   entry*& found) noexcept {
  const std::uint32_t index = name >> 8;
  if (index >= std::max(table_size(), policy_.first_index + max_chosen_size)) return KERN_NO_SPACE;
  if (checks_generation && (name & generation_bits) != generation_bits) return KERN_INVALID_VALUE;
  found = find(name);
  if (found) return KERN_SUCCESS;
  const bool is_reserved = index < std::max(reserved_size, policy_.first_index);
  if (is_reserved || name_at(index) != MACH_PORT_NULL) return KERN_FAILURE;
  if (is_full()) return KERN_NO_SPACE;
  if (index >= table_size() && !grow(index + 1)) return KERN_RESOURCE_SHORTAGE;
  found = &entries_[index];
  return KERN_SUCCESS;
}

void ipc_space::take_slot(mach_port_name_t name, entry& free) noexcept {
  remove_free(name >> 8);
  free.generation = static_cast<std::uint8_t>(name);
  free.was_used = true;
}

void ipc_space::free(mach_port_name_t name, entry& gone) noexcept {
  const std::uint8_t generation = gone.generation;
  gone = {};
  gone.generation = static_cast<std::uint8_t>(generation + generation_step);
  gone.was_used = true;
  const std::uint32_t index = name >> 8;
  if (index < reserved_size || index < policy_.first_index) return;
  add_free(index, !policy_.shuffled);
  freed_last_ = index;
}

std::size_t ipc_space::bucket(const port& target) const noexcept {
  const auto bits = reinterpret_cast<std::uintptr_t>(&target);
  return (bits * 0x9e3779b97f4a7c15u >> 20) & (buckets_.size() - 1);
}

mach_port_name_t ipc_space::find_send(const port& target) const noexcept {
  for (std::uint32_t index = buckets_[bucket(target)]; index; index = entries_[index].next) {
    if (entries_[index].target == &target) return index << 8 | entries_[index].generation;
  }
  return MACH_PORT_NULL;
}

void ipc_space::spread_sends() noexcept try {
  const std::vector<std::uint32_t> old =
      std::exchange(buckets_, std::vector<std::uint32_t>(buckets_.size() * 4));
  for (std::uint32_t head : old) {
    while (head) {
      const std::uint32_t index = head;
      head = entries_[index].next;
      std::uint32_t& chain = buckets_[bucket(static_cast<const port&>(*entries_[index].target))];
      entries_[index].next = std::exchange(chain, index);
    }
  }
} catch (const std::bad_alloc&) {
  // The old buckets stay in use, with longer chains.
}

void ipc_space::remember_send(const port& target, mach_port_name_t name) noexcept {
  if (sends_ >= buckets_.size()) spread_sends();
  std::uint32_t& chain = buckets_[bucket(target)];
  entries_[name >> 8].next = std::exchange(chain, name >> 8);
  ++sends_;
}

void ipc_space::forget_send(const port& target, mach_port_name_t name) noexcept {
  std::uint32_t* from = &buckets_[bucket(target)];
  while (*from != name >> 8) from = &entries_[*from].next;
  *from = std::exchange(entries_[name >> 8].next, 0);
  --sends_;
}

}  // namespace kedge::mach::kernel
