// Implements reference_counts with an open-addressing hash table, one for all spaces.
#include "kedge/mach/reference_counts.h"

#include <pthread.h>

#include <cstddef>
#include <mutex>
#include <new>

#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/misuse.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/outside_heap.h"

namespace kedge::mach::reference_counts {
namespace {

// (space, name). The name of a right is never 0.
using key = std::uint64_t;

key key_of(std::uint32_t space, mach_port_name_t name) noexcept {
  return std::uint64_t{space} << 32 | name;
}

// Rights may be released by the destructors of static objects, so the table has none.
class table {
 public:
  struct entry {
    key of = 0;  // 0: free
    std::uint64_t count = 0;
  };

  // Returns null if the key is not counted.
  entry* find(key k) const noexcept {
    if (entries_ == nullptr) return nullptr;
    std::size_t at = place(k);
    while (entries_[at].of != 0 && entries_[at].of != k) at = next(at);
    return entries_[at].of == k ? &entries_[at] : nullptr;
  }
  // Counts 1 for a key that is not counted. Returns false if there is no memory.
  bool insert(key k) noexcept {
    if ((used_ + 1) * 4 > capacity_ * 3 && !grow()) return false;
    place_new(k, 1);
    return true;
  }
  void remove(entry& e) noexcept {
    // Moves later entries of the same chain forward, so that no gap cuts them off.
    auto gap = static_cast<std::size_t>(&e - entries_);
    for (std::size_t at = next(gap); entries_[at].of != 0; at = next(at)) {
      const std::size_t distance = (at - place(entries_[at].of)) & (capacity_ - 1);
      if (distance < ((at - gap) & (capacity_ - 1))) continue;
      entries_[gap] = entries_[at];
      gap = at;
    }
    entries_[gap] = {};
    --used_;
    shrink();
  }
  void remove_all_of(std::uint32_t space) noexcept {
    for (std::size_t at = 0; at < capacity_;) {
      if (entries_[at].of >> 32 == space && entries_[at].of != 0) {
        remove(entries_[at]);  // a later entry may move here, and an earlier one to the end
        at = 0;
      } else {
        ++at;
      }
    }
  }

 private:
  static constexpr std::size_t smallest = 64;

  std::size_t place(key k) const noexcept {
    return static_cast<std::size_t>((k * 0x9e3779b97f4a7c15u) >> shift_);
  }
  std::size_t next(std::size_t at) const noexcept { return (at + 1) & (capacity_ - 1); }

  void place_new(key k, std::uint64_t count) noexcept {
    std::size_t at = place(k);
    while (entries_[at].of != 0) at = next(at);
    entries_[at] = {k, count};
    ++used_;
  }
  bool grow() noexcept {
    const std::size_t larger = capacity_ == 0 ? smallest : capacity_ * 2;
    auto* const made = new (std::nothrow) entry[larger]();
    if (made == nullptr) return false;
    entry* const old = entries_;
    const std::size_t old_capacity = capacity_;
    entries_ = made;
    capacity_ = larger;
    shift_ = 64;
    for (std::size_t n = larger; n > 1; n /= 2) --shift_;
    used_ = 0;
    for (std::size_t i = 0; i < old_capacity; ++i) {
      if (old[i].of != 0) place_new(old[i].of, old[i].count);
    }
    delete[] old;
    return true;
  }
  // A table that a flood of rights has made large goes when it is empty.
  void shrink() noexcept {
    if (used_ != 0 || capacity_ <= smallest) return;
    delete[] entries_;
    entries_ = nullptr;
    capacity_ = 0;
  }

  entry* entries_ = nullptr;
  std::size_t capacity_ = 0;  // a power of two
  int shift_ = 0;
  std::size_t used_ = 0;
};

constinit table counts;
constinit base::mutex lock;
using hold = std::lock_guard<base::mutex>;

// A child of fork() gets the table as no thread is changing it. The ledger is written under the
// lock.
[[maybe_unused]] const int fork_handlers = [] {
  constexpr auto unlock = [] {
    ledger::unlock_after_fork();
    lock.unlock();
  };
  return pthread_atfork(
      [] {
        lock.lock();
        ledger::lock_for_fork();
      },
      unlock, unlock);
}();

void deallocate(std::uint32_t space, mach_port_name_t name) noexcept {
  if (space != space_incarnation()) {
    report_other_space("a send right", name, space);
    return;
  }
  report_release("a send right", name, mach_port_deallocate(mach_task_self(), name));
}

}  // namespace

void adopt(std::uint32_t space, mach_port_name_t name, const place& where) {
  if (!try_adopt(space, name, where)) throw std::bad_alloc();
}

bool try_adopt(std::uint32_t space, mach_port_name_t name, const place& where) noexcept {
  {
    const base::outside_heap shared;
    const hold held(lock);
    table::entry* const found = counts.find(key_of(space, name));
    if (found == nullptr) {
      if (!counts.insert(key_of(space, name))) return false;
      ledger::record(ledger::kind::send, space, name, where);
      return true;
    }
    ++found->count;
  }
  deallocate(space, name);
  return true;
}

bool add(std::uint32_t space, mach_port_name_t name) noexcept {
  const hold held(lock);
  table::entry* const found = counts.find(key_of(space, name));
  if (found != nullptr) ++found->count;
  return found != nullptr;
}

std::uint64_t count(std::uint32_t space, mach_port_name_t name) noexcept {
  const hold held(lock);
  const table::entry* const found = counts.find(key_of(space, name));
  return found != nullptr ? found->count : 0;
}

void drop(std::uint32_t space, mach_port_name_t name) noexcept {
  {
    const hold held(lock);
    table::entry* const found = counts.find(key_of(space, name));
    if (found == nullptr || --found->count != 0) return;
    counts.remove(*found);
    ledger::erase(ledger::kind::send, space, name);
  }
  deallocate(space, name);
}

void forget(std::uint32_t space) noexcept {
  const hold held(lock);
  counts.remove_all_of(space);
}

mach_port_name_t release(std::uint32_t space, mach_port_name_t name) noexcept {
  if (space != space_incarnation()) {
    drop(space, name);
    return MACH_PORT_NULL;
  }
  {
    const hold held(lock);
    table::entry* const found = counts.find(key_of(space, name));
    if (found == nullptr) return MACH_PORT_NULL;
    if (found->count == 1) {
      counts.remove(*found);
      ledger::erase(ledger::kind::send, space, name);
      return name;
    }
  }
  // The caller's count keeps the name until the kernel has made the reference.
  kern_return_t code = mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_SEND, 1);
  // A dead name never becomes a send right again.
  if (code == KERN_INVALID_RIGHT) {
    code = mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_DEAD_NAME, 1);
  }
  report_release("a send right", name, code);
  drop(space, name);
  return code == KERN_SUCCESS ? name : mach_port_name_t{MACH_PORT_NULL};
}

}  // namespace kedge::mach::reference_counts
