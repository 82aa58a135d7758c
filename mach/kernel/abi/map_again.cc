// Implements make_common(), map_again() and map_common().
#include "kedge/mach/kernel/abi/map_again.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/abi/readable_pages.h"
#include "kedge/mach/kernel/abi/replace_pages.h"
#include "kedge/mach/kernel/abi/segment_table.h"

namespace kedge::mach::kernel::address_space {
namespace {

// Returns true if the pieces are one contiguous range of one file, and none is frozen: the file has
// all that was written to them.
bool is_one(const std::vector<piece>& pieces) noexcept {
  return !pieces.empty() && std::all_of(pieces.begin(), pieces.end(), [&](const piece& each) {
    const piece& first = pieces.front();
    return each.of.is != segment::kind::frozen && each.of.file.get() == first.of.file.get() &&
           each.of.offset - first.of.offset == each.at - first.at;
  });
}

// Returns true if the pieces, which are one contiguous range, are all of the range.
bool is_all(const std::vector<piece>& pieces, const page_range& range) noexcept {
  return pieces.front().at == range.start && pieces.back().at + pieces.back().of.size == range.end;
}

// Checks that the range can be copied into a file: all of it is mapped, and is private or shared
// with nothing. `pieces` are the parts of the range that are memory of this kernel.
kern_return_t check_unshared(const std::vector<mapping>& parts, const std::vector<piece>& pieces,
                             const page_range& range) noexcept {
  std::uint64_t mapped = 0, shared = 0, own = 0;
  for (const mapping& each : parts) {
    mapped += each.end - each.start;
    if (each.shared) shared += each.end - each.start;
  }
  for (const piece& each : pieces) {
    if (each.of.is != segment::kind::frozen) own += each.of.size;
  }
  if (mapped != range.end - range.start) return KERN_INVALID_ADDRESS;
  return shared == own ? KERN_SUCCESS : KERN_NOT_SUPPORTED;
}

// Copies the range into a new file and maps that in its place, with the same protections and the
// same inheritance. All memory that this takes is allocated before the copy: the heap may be in the
// range.
kern_return_t put_into_file(const page_range& range, const std::vector<mapping>& parts,
                            segment::kind as, ref<memory_file>& file) {
  const std::uint64_t size = range.end - range.start;
  file = memory_file::make(size);
  if (!file) return KERN_RESOURCE_SHORTAGE;
  int all = PROT_READ;
  for (const mapping& each : parts) all |= each.protection;
  segment_table::segments before = known().exchange(range.start, {file, 0, size, as});
  readable_pages opened(parts);
  const int error = replace_by_file(range.start, size, file->fd(), all);
  if (error != 0) {
    known().put_back(range.start, size, before);
    return error == EFAULT ? KERN_INVALID_ADDRESS : KERN_RESOURCE_SHORTAGE;
  }
  opened.forget();
  for (const mapping& each : parts) {
    if (each.protection == all) continue;
    mprotect(pointer(each.start), each.end - each.start, each.protection);
  }
  known().keep_inheritance(range.start, range.end);
  return KERN_SUCCESS;
}

// Requires the table's lock.
kern_return_t make_common(const page_range& range, segment::kind as, ref<memory_file>& file,
                          std::uint64_t& offset) noexcept {
  try {
    const std::vector<piece> pieces = known().find_parts(range.start, range.end);
    if (is_one(pieces) && is_all(pieces, range)) {
      file = pieces.front().of.file;
      offset = pieces.front().of.offset;
      for (const piece& each : pieces) {
        if (each.of.is < as) known().change(each.at, each.of.size, as);
      }
      return KERN_SUCCESS;
    }
    if (!known().can_move(pieces)) return KERN_INVALID_ADDRESS;
    const std::vector<mapping> parts = mappings_within(range.start, range.end);
    const kern_return_t bad = check_unshared(parts, pieces, range);
    if (bad != KERN_SUCCESS) return bad;
    offset = 0;
    return put_into_file(range, parts, as, file);
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

// Makes the pages common, and holds their file. Requires the table's lock: else a fork of another
// thread could freeze the file in between.
kern_return_t make_held(const page_range& range, ref<memory_file>& file, std::uint64_t& offset) {
  ref<memory_file> found;
  const kern_return_t result = make_common(range, segment::kind::common, found, offset);
  if (result != KERN_SUCCESS) return result;
  file = found->hold();
  return file ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

// Returns the end of the first pages of the range that can be in one file. Requires the table's
// lock.
user_address end_of_first(const page_range& range) {
  const std::vector<piece> parts = known().find_parts(range.start, range.end);
  std::vector<piece> first;
  user_address end = range.start;
  for (const piece& each : parts) {
    first.push_back(each);
    if (each.at != end || !is_one(first)) {
      first.pop_back();
      break;
    }
    end += each.of.size;
  }
  if (end == range.end || has_common(first)) return end;
  for (const piece& each : parts) {
    if (each.of.is_common()) return each.at;
  }
  return range.end;
}

}  // namespace

kern_return_t make_common(user_address start, std::uint64_t size, ref<memory_file>& file,
                          std::uint64_t& offset) noexcept {
  const std::lock_guard hold(known().lock);
  return make_held(page_range(start, size), file, offset);
}

kern_return_t make_inherited(user_address start, std::uint64_t size) noexcept {
  const page_range range(start, size);
  const std::lock_guard hold(known().lock);
  try {
    user_address shared_until = range.start;
    for (const piece& each : known().find_parts(range.start, range.end)) {
      if (each.at != shared_until || each.of.is == segment::kind::frozen) break;
      if (each.of.is != segment::kind::given) {
        known().change(each.at, each.of.size, segment::kind::inherited);
      }
      shared_until += each.of.size;
    }
    if (shared_until == range.end) return KERN_SUCCESS;
    ref<memory_file> file;
    std::uint64_t offset = 0;
    return make_common(range, segment::kind::inherited, file, offset);
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

kern_return_t make_first_common(user_address start, std::uint64_t size, ref<memory_file>& file,
                                std::uint64_t& offset, std::uint64_t& common) noexcept {
  const page_range range(start, size);
  const std::lock_guard hold(known().lock);
  try {
    common = end_of_first(range) - range.start;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
  return make_held(page_range(range.start, common), file, offset);
}

kern_return_t map_again(user_address start, std::uint64_t size, const place& where,
                        user_address& at) noexcept {
  const page_range range(start, size);
  try {
    // All files before the first mapping, which may take the pages of the range away.
    std::vector<segment> runs;
    for (user_address next = range.start; next < range.end; next += runs.back().size) {
      segment& made = runs.emplace_back();
      const kern_return_t failed =
          make_first_common(next, range.end - next, made.file, made.offset, made.size);
      if (failed != KERN_SUCCESS) return failed;
    }
    const kern_return_t found = find_room(where, range.end - range.start, at);
    if (found != KERN_SUCCESS) return found;
    user_address next = at;
    for (const segment& each : runs) {
      const place fixed{.anywhere = false, .replaces = true, .at = next};
      const kern_return_t failed =
          map_common(each.file, each.offset, each.size, fixed, PROT_READ | PROT_WRITE, next);
      if (failed != KERN_SUCCESS) {
        deallocate(at, range.end - range.start);
        return failed;
      }
      next += each.size;
    }
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

kern_return_t map_common(const ref<memory_file>& file, std::uint64_t offset, std::uint64_t size,
                         const place& where, int protection, user_address& at) noexcept {
  const kern_return_t found = find_room(where, size, at);
  if (found != KERN_SUCCESS) return found;
  const std::uint64_t whole = round_to_pages(size);
  ref<memory_file> own = file->open_again();
  const std::lock_guard hold(known().lock);
  if (own &&
      known().map(at, {std::move(own), offset, whole, segment::kind::common}, MAP_FIXED) != 0 &&
      mprotect(pointer(at), whole, protection) == 0) {
    return KERN_SUCCESS;
  }
  known().cut(at, at + whole);
  munmap(pointer(at), whole);
  return KERN_NO_SPACE;
}

}  // namespace kedge::mach::kernel::address_space
