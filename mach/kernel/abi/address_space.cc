// Implements address_space with mmap, mremap and files in memory; as vm_map_copyin() and
// vm_map_copyout() move memory between address spaces on Darwin.
#include "kedge/mach/kernel/abi/address_space.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/abi/segment_table.h"
#include "kedge/runtime/base/parker.h"

namespace kedge::mach::kernel::address_space {
namespace {

// Where memory of that many bytes is to be mapped in a process that a scheduler runs. 0: anywhere.
user_address scheduled_hint(std::uint64_t size) noexcept {
  base::parker* const scheduler = base::parker::of_thread();
  return scheduler != nullptr ? scheduler->next_address(size) : 0;
}

constexpr int readable = PROT_READ | PROT_WRITE;

// Freezes segments before a fork: else parent and child would see each other's writes. Memory that
// has another mapping or a memory entry stays common.
void prepare_fork() {
  known().lock.lock();
  try {
    known().freeze_for_fork();
  } catch (const std::bad_alloc&) {
    // A process without memory for this list cannot fork either.
  }
}

void end_fork() {
  known().lock.unlock();
}

void begin_child() {
  known().forget_not_inherited();
  known().lock.unlock();
}

[[maybe_unused]] const int watches_forks = pthread_atfork(prepare_fork, end_fork, begin_child);

// Removes the pages of the range. Permanent ones stay, without access (Darwin: vm_map_delete).
// Requires the table's lock.
void unmap(user_address start, user_address end) noexcept {
  segment_table& table = known();
  table.forget_unmapped(start, end);
  table.permanent.for_each_part(start, end,
                                [&](user_address first, user_address last, bool is_permanent) {
                                  if (!is_permanent) {
                                    munmap(pointer(first), last - first);
                                    table.cut(first, last);
                                    table.forget_inheritance(first, last);
                                    return;
                                  }
                                  mprotect(pointer(first), last - first, PROT_NONE);
                                  try {
                                    table.closed.add(first, last);
                                  } catch (const std::bad_alloc&) {
                                    return;  // mach_vm_protect can open the pages again
                                  }
                                });
}

// Memory in a message: pages of its own, which no other mapping shares.
class pages final : public passing_memory {
 public:
  pages(user_address at, std::uint64_t size) noexcept : at_(at), size_(size) {}
  ~pages() override {
    if (at_) deallocate(at_, size_);
  }

  void read(std::uint64_t offset, void* to, std::size_t size) const noexcept override {
    std::memcpy(to, pointer(at_ + offset), size);
  }
  kern_return_t enter(user_address& at) noexcept override {
    at = std::exchange(at_, 0);
    return KERN_SUCCESS;
  }
  void own(user_address at) noexcept { at_ = at; }

 private:
  user_address at_;
  const std::uint64_t size_;
};

// Memory in a message: frozen segments, shared with other mappings until one side writes.
class shared_pages final : public passing_memory {
 public:
  explicit shared_pages(std::vector<segment>&& parts) noexcept : parts_(std::move(parts)) {}

  void read(std::uint64_t offset, void* to, std::size_t size) const noexcept override {
    auto* out = static_cast<std::byte*>(to);
    for (const segment& each : parts_) {
      if (offset >= each.size) {
        offset -= each.size;
        continue;
      }
      const std::size_t part = std::min<std::uint64_t>(size, each.size - offset);
      each.file->read(each.offset + offset, out, part);
      out += part;
      size -= part;
      offset = 0;
      if (size == 0) return;
    }
  }

  kern_return_t enter(user_address& at) noexcept override {
    std::uint64_t size = 0;
    for (const segment& each : parts_) size += each.size;
    const std::lock_guard hold(known().lock);
    void* const room =
        mmap(pointer(scheduled_hint(size)), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return KERN_NO_SPACE;
    user_address next = at = address(room);
    for (const segment& each : parts_) {
      if (known().map(next, each, MAP_FIXED) == 0) {
        known().cut(at, next);
        munmap(room, size);
        return KERN_NO_SPACE;
      }
      next += each.size;
    }
    return KERN_SUCCESS;
  }

 private:
  ~shared_pages() override = default;
  std::vector<segment> parts_;
};

// A frozen piece with more runs of written pages than this is copied as a whole, which is faster.
constexpr std::size_t most_runs = 64;

// Appends the segments of a frozen piece. Pages that were written to since the file was frozen are
// copied into a file of their own. Returns false if the caller must copy the whole piece.
bool add_frozen(const piece& from, std::vector<segment>& to) {
  std::vector<bool> written;
  if (!find_written_pages(from.at, from.at + from.of.size, written)) return false;
  const std::uint64_t page = page_size();
  const auto total = static_cast<std::uint64_t>(std::count(written.begin(), written.end(), true));
  ref<memory_file> copies;
  if (total > 0) {
    copies = memory_file::make(total * page);
    if (!copies) return false;
  }
  std::uint64_t used = 0;
  for (std::size_t first = 0, last = 0, runs = 0; first < written.size(); first = last) {
    while (last < written.size() && written[last] == written[first]) ++last;
    const std::uint64_t offset = first * page, size = (last - first) * page;
    if (!written[first]) {
      to.push_back({from.of.file, from.of.offset + offset, size, segment::kind::frozen});
      continue;
    }
    if (++runs > most_runs || !copies->write(used, pointer(from.at + offset), size)) return false;
    to.push_back({copies, used, size, segment::kind::frozen});
    used += size;
  }
  return true;
}

ref<memory_object> share_pieces(const std::vector<piece>& pieces) {
  if (pieces.empty() || has_common(pieces)) return {};
  std::vector<segment> parts;
  for (const piece& each : pieces) {
    if (each.of.is == segment::kind::frozen) {
      if (!add_frozen(each, parts)) return {};
      continue;
    }
    if (!known().freeze(each)) return {};
    parts.push_back(each.of);
    parts.back().is = segment::kind::frozen;
  }
  return ref<memory_object>::adopt(new shared_pages(std::move(parts)));
}

// Moves the pieces, which are `size` bytes in all, to a free address and returns it. If Linux
// refuses halfway, moves all pieces back and returns 0.
user_address move_pieces(const std::vector<piece>& pieces, std::uint64_t size) {
  void* const room =
      mmap(pointer(scheduled_hint(size)), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return 0;
  const user_address from = pieces.front().at, to = address(room);
  const auto move = [](user_address at, std::uint64_t length, user_address goal) {
    return mremap(pointer(at), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(goal)) !=
           MAP_FAILED;
  };
  for (std::size_t index = 0; index < pieces.size(); ++index) {
    const piece& each = pieces[index];
    if (move(each.at, each.of.size, to + (each.at - from))) continue;
    while (index-- > 0) {
      move(to + (pieces[index].at - from), pieces[index].of.size, pieces[index].at);
    }
    munmap(room, size);
    return 0;
  }
  known().forget(to, to + size);
  for (const piece& each : pieces) known().add(to + (each.at - from), each.of);
  known().cut(from, from + size);
  return to;
}

}  // namespace

std::uint64_t page_size() noexcept {
  static const auto size = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

kern_return_t allocate(std::uint64_t size, user_address& at, user_address hint) noexcept {
  const std::uint64_t whole = round_to_pages(size);
  if (whole < size) return KERN_NO_SPACE;
  if (hint == 0) hint = scheduled_hint(whole);
  if (whole >= shared_from) {
    if (ref<memory_file> file = memory_file::make(whole)) {
      const std::lock_guard hold(known().lock);
      at = known().map(hint, {std::move(file), 0, whole, segment::kind::sole}, 0);
      return at ? KERN_SUCCESS : KERN_NO_SPACE;
    }
  }
  const std::lock_guard hold(known().lock);
  void* const made = mmap(pointer(hint), whole, readable, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return KERN_NO_SPACE;
  at = address(made);
  known().forget(at, at + whole);
  return KERN_SUCCESS;
}

kern_return_t allocate_at(user_address at, std::uint64_t size, bool replaces) noexcept {
  const std::uint64_t whole = round_to_pages(size);
  if (whole < size || at + whole < at) return KERN_INVALID_ADDRESS;
  const std::lock_guard hold(known().lock);
  if (replaces) known().forget_unmapped(at, at + whole);
  if (replaces && known().permanent.overlaps(at, at + whole)) {
    unmap(at, at + whole);
    return KERN_NO_SPACE;
  }
  const int fixed = replaces ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  void* const made = mmap(pointer(at), whole, readable, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (made == MAP_FAILED) return errno == EEXIST ? KERN_NO_SPACE : KERN_INVALID_ADDRESS;
  known().forget(at, at + whole);
  return KERN_SUCCESS;
}

void deallocate(user_address at, std::uint64_t size) noexcept {
  const page_range range(at, size);
  const std::lock_guard hold(known().lock);
  unmap(range.start, range.end);
}

kern_return_t make_permanent(user_address at, std::uint64_t size) noexcept {
  const std::lock_guard hold(known().lock);
  try {
    known().permanent.add(at, at + round_to_pages(size));
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

bool is_closed(user_address start, user_address end) noexcept {
  const std::lock_guard hold(known().lock);
  return known().closed.overlaps(start, end);
}

user_address move(user_address from, std::uint64_t size, user_address wanted) noexcept {
  const std::uint64_t whole = round_to_pages(size);
  if (whole >= shared_from) return from;  // pages of a file
  const user_address to = wanted - offset_in_page(wanted);
  const std::lock_guard hold(known().lock);
  void* const room = mmap(pointer(to), whole, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (room == MAP_FAILED) return from;
  if (room == pointer(to) &&
      mremap(pointer(from), whole, whole, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room) {
    known().forget(to, to + whole);
    return to;
  }
  munmap(room, whole);
  return from;
}

ref<memory_object> fresh(std::uint64_t size, std::byte*& bytes) noexcept {
  user_address at = 0;
  const std::uint64_t whole = round_to_pages(size);
  if (allocate(whole, at) != KERN_SUCCESS) return {};
  auto* const made = new (std::nothrow) pages(at, whole);
  if (!made) deallocate(at, whole);
  bytes = static_cast<std::byte*>(pointer(at));
  return ref<memory_object>::adopt(made);
}

ref<memory_object> share(user_address from, std::uint64_t size) noexcept {
  const page_range range(from, size);
  const std::lock_guard hold(known().lock);
  try {
    return share_pieces(known().find(range.start, range.end));
  } catch (const std::bad_alloc&) {
    return {};
  }
}

ref<memory_object> take_away(user_address from, std::uint64_t size) noexcept {
  const page_range range(from, size);
  auto taken = ref<memory_object>::adopt(new (std::nothrow) pages(0, range.end - range.start));
  if (!taken) return {};
  const std::lock_guard hold(known().lock);
  if (known().permanent.overlaps(range.start, range.end)) return {};
  try {
    const std::vector<piece> pieces = known().find(range.start, range.end);
    // Other mappings still write to the pages of a memory entry.
    if (pieces.empty() || has_common(pieces)) return {};
    const user_address at = move_pieces(pieces, range.end - range.start);
    if (!at) return {};
    if (known().not_inherited.overlaps(range.start, range.end)) {
      madvise(pointer(at), range.end - range.start, MADV_DOFORK);
      known().forget_inheritance(range.start, range.end);
    }
    static_cast<pages*>(taken.get())->own(at);
    return taken;
  } catch (const std::bad_alloc&) {
    return {};
  }
}

namespace {

#if defined(__x86_64__)
constexpr user_address end_of_addresses = user_address{1} << 47;
#else
constexpr user_address end_of_addresses = user_address{1} << 48;
#endif

// Pages at any address are allocated upwards, each behind the one before, as Darwin's first fit
// does. Linux alone goes downwards. 0: Linux is to choose where the next run of pages begins.
std::atomic<user_address> next_fit{0};
constexpr std::uint64_t room_of_run = std::uint64_t{16} << 30;

user_address next_hint() noexcept {
  const user_address hint = next_fit.load(std::memory_order_relaxed);
  if (hint != 0) return hint;
  void* const room =
      mmap(nullptr, room_of_run, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return 0;
  munmap(room, room_of_run);
  return address(room);
}

// Continues the run behind the pages at `at` if they were allocated at the hint.
void continue_run(user_address hint, user_address at, std::uint64_t whole) noexcept {
  next_fit.store(at == hint ? at + whole : 0, std::memory_order_relaxed);
}

// Sets all bits below the highest one: an address without these bits has none of the mask's.
std::uint64_t fill(std::uint64_t mask) noexcept {
  for (unsigned shift = 1; shift < 64; shift *= 2) mask |= mask >> shift;
  return mask;
}

// Allocates pages at the first aligned address from `from` on where nothing is mapped (Darwin:
// vm_map_store_find_space). KERN_NO_SPACE: there is none.
kern_return_t allocate_from(user_address from, std::uint64_t alignment, std::uint64_t whole,
                            user_address& at) noexcept {
  constexpr user_address lowest = user_address{1} << 32;  // Darwin maps nothing below
  const auto aligned = [&](user_address next) { return (next + alignment) & ~alignment; };
  try {
    at = aligned(std::max(from, lowest));
    for (const mapping& each : mappings(at, end_of_addresses)) {
      if (at + whole <= each.start && allocate_at(at, whole, false) == KERN_SUCCESS) {
        return KERN_SUCCESS;
      }
      at = std::max(at, aligned(each.end));
    }
    return at + whole <= end_of_addresses ? allocate_at(at, whole, false) : KERN_NO_SPACE;
  } catch (const std::bad_alloc&) {
    return KERN_NO_SPACE;
  }
}

}  // namespace

kern_return_t allocate_next(std::uint64_t size, user_address& at) noexcept {
  if (base::parker::of_thread() != nullptr) [[unlikely]]
    return allocate(size, at);
  const user_address hint = next_hint();
  const kern_return_t result = allocate(size, at, hint);
  if (result == KERN_SUCCESS) continue_run(hint, at, round_to_pages(size));
  return result;
}

kern_return_t find_room(const place& where, std::uint64_t size, user_address& at) noexcept {
  if (!where.anywhere) {
    if (where.at & where.alignment) return KERN_NO_SPACE;
    if (where.at == 0) return KERN_INVALID_ADDRESS;
    at = where.at;
    return allocate_at(at, size, where.replaces);
  }
  const std::uint64_t alignment = fill(where.alignment), spare = alignment & ~(page_size() - 1);
  const std::uint64_t whole = round_to_pages(size);
  if (whole < size || whole + spare < whole || where.at >= end_of_addresses ||
      whole + spare >= end_of_addresses) {
    return KERN_NO_SPACE;
  }
  if (where.at != 0) return allocate_from(where.at, alignment | (page_size() - 1), whole, at);
  const user_address scheduled = scheduled_hint(whole + spare);
  const user_address hint = scheduled != 0 ? scheduled : spare == 0 ? next_hint() : 0;
  const std::lock_guard hold(known().lock);
  void* const made = mmap(pointer(hint), whole + spare, readable,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return KERN_NO_SPACE;
  if (spare == 0 && scheduled == 0) continue_run(hint, address(made), whole);
  const user_address first = address(made), last = first + whole + spare;
  at = (first + alignment) & ~alignment;
  if (at > first) munmap(made, at - first);
  if (last > at + whole) munmap(pointer(at + whole), last - at - whole);
  known().forget(at, at + whole);
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel::address_space
