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
#include "kedge/mach/kernel/abi/range_set.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/runtime/base/mutex.h"

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
    sole,    // MAP_SHARED, and not mapped elsewhere
    frozen,  // MAP_PRIVATE: the file is never written to again
    common,  // MAP_SHARED, and mapped elsewhere too
  };
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

class segment_table {
 public:
  base::mutex lock;
  range_set permanent;      // pages that no call unmaps (VM_FLAGS_PERMANENT)
  range_set closed;         // permanent pages that were deallocated: nothing may access them
  range_set not_inherited;  // pages that a fork's child does not have (VM_INHERIT_NONE)

  // Adds a segment that was mapped at `at`. Without memory for the entry, its pages are treated as
  // memory that this kernel did not allocate.
  void add(user_address at, const segment& mapped) noexcept;
  // Removes the range from the table.
  void cut(user_address start, user_address end) noexcept;
  // Returns the pieces that make up the range, or none if a part of it is not memory of this kernel
  // or cannot be read. Throws std::bad_alloc.
  std::vector<piece> find(user_address start, user_address end);

  // Returns the pieces in the range, which may have pages of other memory between them. Throws
  // std::bad_alloc.
  std::vector<piece> find_parts(user_address start, user_address end);

  // Returns true if the range is memory of this kernel that nothing else maps. Throws
  // std::bad_alloc.
  bool is_sole(user_address start, user_address end);

  // Turns a `sole` piece `frozen`. Returns false if Linux refuses. Throws std::bad_alloc.
  bool freeze(const piece& sole);
  // Turns all `sole` segments `frozen`. Throws std::bad_alloc.
  void freeze_all();
  // Turns a `sole` range `common`. Throws std::bad_alloc.
  void open_up(user_address at, std::uint64_t size);

 private:
  using segments = std::map<user_address, segment>;

  segments::iterator at_or_before(user_address at);
  void sweep();
  void split(user_address at);
  bool covers(user_address start, user_address end);
  void add_pieces(user_address start, user_address end, std::vector<piece>& to);

  segments segments_;  // by address
  std::size_t sweep_threshold_ = 32;
};

// The segments of this process.
segment_table& known();

}  // namespace kedge::mach::kernel::address_space
