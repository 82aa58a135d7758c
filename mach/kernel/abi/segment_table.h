// segment_table: which ranges of this process's memory are pages of which files in memory.
//
// Linux is the authority: a program may unmap or protect its memory without a call to this kernel.
// So the table only finds ranges that Linux still reports as mapped in the same way. A segment that
// the program has unmapped itself stays in the table until something else is mapped there, or until
// a sweep, which runs when the table has twice as many segments as the last sweep has left.
//
// Threads: every member function requires `lock`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "kedge/mach/kernel/abi/memory_file.h"
#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/abi/range_set.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/outside_heap.h"

namespace kedge::mach::kernel::address_space {

inline void* pointer(user_address at) noexcept {
  return reinterpret_cast<void*>(at);
}
inline user_address address(const void* at) noexcept {
  return reinterpret_cast<std::uintptr_t>(at);
}

// A range of a file that is mapped at some address.
struct segment {
  enum class kind : std::uint8_t {
    frozen,     // MAP_PRIVATE: the file is never written to again
    sole,       // MAP_SHARED, and not mapped elsewhere
    common,     // MAP_SHARED, and was mapped elsewhere too, or an entry of it was made
    inherited,  // MAP_SHARED, and the next fork's child is to share it (VM_INHERIT_SHARE)
    given,      // MAP_SHARED, and a fork's child shares it
  };
  bool is_common() const noexcept { return is >= kind::common; }

  ref<memory_file> file;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  kind is = kind::sole;
};

// A part of a segment that is mapped now, and its protection (PROT_*).
struct piece {
  user_address at = 0;
  segment of;
  int protection = 0;
};

// Returns true if other mappings share some of the pieces, or shall share them.
bool has_common(const std::vector<piece>& pieces) noexcept;

// The table's lock. What is allocated under it outlives the process that calls.
class table_lock {
 public:
  void lock() noexcept {
    mutex_.lock();
    base::outside_heap::enter();
  }
  void unlock() noexcept {
    base::outside_heap::leave();
    mutex_.unlock();
  }

 private:
  base::mutex mutex_;
};

class segment_table {
 public:
  using segments = std::map<user_address, segment>;  // by address

  table_lock lock;
  range_set permanent;      // pages that no call unmaps (VM_FLAGS_PERMANENT)
  range_set closed;         // permanent pages that were deallocated: nothing may access them
  range_set not_inherited;  // pages that a fork's child does not have (VM_INHERIT_NONE)

  // Maps a segment for reading and writing, and adds it. `at` is a hint, unless the flags (MAP_*)
  // say otherwise. Returns 0 if Linux refuses.
  user_address map(user_address at, const segment& part, int flags) noexcept;
  // Adds a segment that was mapped at `at`. Without memory for the entry, its pages are treated as
  // memory that this kernel did not allocate.
  void add(user_address at, const segment& mapped) noexcept;
  // Removes the range from the table.
  void cut(user_address start, user_address end) noexcept;
  // Forgets all that is known of the range: other pages are mapped there now. Without memory for
  // the change, the range stays in the sets.
  void forget(user_address start, user_address end) noexcept;
  void forget_inheritance(user_address start, user_address end) noexcept;
  // Forgets the permanent pages in the range that the program has unmapped itself.
  void forget_unmapped(user_address start, user_address end) noexcept;
  // In the child of a fork: forgets the pages that it did not get.
  void forget_not_inherited() noexcept;
  // Repeats the advice of Linux about the inheritance of the range, after mapping it over itself.
  void keep_inheritance(user_address start, user_address end) noexcept;

  // Puts one segment in the place of those that are in its range, and returns them. Throws
  // std::bad_alloc, and has no effect then.
  segments exchange(user_address at, const segment& one);
  // Undoes exchange().
  void put_back(user_address at, std::uint64_t size, segments& before) noexcept;

  // Returns the pieces that make up the range, or none if a part of it is not memory of this kernel
  // or cannot be read. Throws std::bad_alloc.
  std::vector<piece> find(user_address start, user_address end);

  // Returns the pieces in the range, which may have pages of other memory between them. Throws
  // std::bad_alloc.
  std::vector<piece> find_parts(user_address start, user_address end);

  // Returns true if what Linux has reported is memory of this kernel that nothing else maps or
  // shall map. Throws std::bad_alloc.
  bool is_sole(const mapping& found);

  // Turns a `sole` piece `frozen`. Returns false if Linux refuses. Throws std::bad_alloc.
  bool freeze(const piece& sole);
  // Turns all segments that nothing else maps `frozen`, and the others `given`: a fork's child gets
  // copies of the first, and shares the others. Throws std::bad_alloc.
  void freeze_for_fork();
  // Changes the kind of a range of a segment. Throws std::bad_alloc.
  void change(user_address at, std::uint64_t size, segment::kind to);
  // Turns the segments of the range that nothing else maps, and no child shares, `sole`. Returns
  // false, without an effect, if they are not all of the range. Throws std::bad_alloc.
  bool end_sharing(user_address start, user_address end);
  // Returns true if the pieces can be moved into another file: nothing else maps them. Throws
  // std::bad_alloc.
  bool can_move(const std::vector<piece>& pieces);

 private:
  segments::iterator at_or_before(user_address at);
  void sweep();
  void split(user_address at);
  bool covers(user_address start, user_address end);
  void add_pieces(user_address start, user_address end, std::vector<piece>& to);
  void add_pieces(const mapping& of, user_address start, user_address end, std::vector<piece>& to);

  segments segments_;
  std::size_t sweep_threshold_ = 32;
};

// The segments of this process.
segment_table& known();

}  // namespace kedge::mach::kernel::address_space
