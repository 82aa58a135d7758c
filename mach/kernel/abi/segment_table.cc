// Implements segment_table: compares its entries with /proc/self/maps, and remaps with mmap.
#include "kedge/mach/kernel/abi/segment_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

namespace kedge::mach::kernel::address_space {

// Never destroyed: threads may use it when the process ends.
segment_table& known() {
  static segment_table& made = []() -> segment_table& {
    const base::outside_heap kept;
    return *new segment_table;
  }();
  return made;
}

namespace {

// Returns true if nothing but the piece shows these pages of its file: no other mapping among `all`
// of the process, and no memory entry.
bool is_alone(const piece& one, const std::vector<mapping>& all) noexcept {
  if (one.of.is == segment::kind::sole) return true;
  if (!one.of.is_common() || one.of.is == segment::kind::given || one.of.file->is_held()) {
    return false;
  }
  return std::none_of(all.begin(), all.end(), [&](const mapping& each) {
    const bool is_piece = each.start <= one.at && one.at < each.end;
    return !is_piece && one.of.file->is(each.device, each.file) &&
           each.offset < one.of.offset + one.of.size &&
           one.of.offset < each.offset + (each.end - each.start);
  });
}

std::vector<mapping> all_mappings() {
  return mappings(0, ~user_address{0});
}

}  // namespace

bool has_common(const std::vector<piece>& pieces) noexcept {
  return std::any_of(pieces.begin(), pieces.end(),
                     [](const piece& each) { return each.of.is_common(); });
}

user_address segment_table::map(user_address at, const segment& part, int flags) noexcept {
  void* const made =
      mmap(pointer(at), part.size, PROT_READ | PROT_WRITE,
           flags | (part.is == segment::kind::frozen ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED),
           part.file->fd(), static_cast<off_t>(part.offset));
  if (made == MAP_FAILED) return 0;
  forget(address(made), address(made) + part.size);
  add(address(made), part);
  return address(made);
}

void segment_table::add(user_address at, const segment& mapped) noexcept {
  cut(at, at + mapped.size);
  try {
    if (segments_.size() >= sweep_threshold_) sweep();
    segments_.emplace(at, mapped);
  } catch (const std::bad_alloc&) {
    return;  // an unknown segment is copied where a known one is shared
  }
}

void segment_table::cut(user_address start, user_address end) noexcept {
  try {
    split(start);
    split(end);
    segments_.erase(segments_.lower_bound(start), segments_.lower_bound(end));
  } catch (const std::bad_alloc&) {
    // A stale entry is harmless: add_pieces() compares it with what Linux reports.
  }
}

void segment_table::forget(user_address start, user_address end) noexcept {
  cut(start, end);
  forget_inheritance(start, end);
  if (permanent.empty() && closed.empty()) return;
  try {
    permanent.remove(start, end);
    closed.remove(start, end);
  } catch (const std::bad_alloc&) {
    return;
  }
}

void segment_table::forget_inheritance(user_address start, user_address end) noexcept {
  if (not_inherited.empty()) return;
  try {
    not_inherited.remove(start, end);
  } catch (const std::bad_alloc&) {
    return;
  }
}

void segment_table::forget_unmapped(user_address start, user_address end) noexcept {
  if (!permanent.overlaps(start, end)) return;
  try {
    for (const mapping& each : mappings_within(start, end)) {
      if (each.start > start) forget(start, each.start);
      start = each.end;
    }
    if (start < end) forget(start, end);
  } catch (const std::bad_alloc&) {
    return;
  }
}

void segment_table::forget_not_inherited() noexcept {
  try {
    std::vector<std::pair<user_address, user_address>> ranges;
    not_inherited.for_each_part(0, ~user_address{0},
                                [&](user_address start, user_address end, bool is_inside) {
                                  if (is_inside) ranges.emplace_back(start, end);
                                });
    for (const auto& [start, end] : ranges) forget(start, end);
  } catch (const std::bad_alloc&) {
    return;
  }
}

void segment_table::keep_inheritance(user_address start, user_address end) noexcept {
  not_inherited.for_each_part(start, end, [](user_address first, user_address last, bool inside) {
    if (inside) madvise(pointer(first), last - first, MADV_DONTFORK);
  });
}

segment_table::segments segment_table::exchange(user_address at, const segment& one) {
  if (segments_.size() >= sweep_threshold_) sweep();
  segments made, before;
  made.emplace(at, one);
  split(at);
  split(at + one.size);
  for (auto next = segments_.lower_bound(at);
       next != segments_.end() && next->first < at + one.size;) {
    before.insert(segments_.extract(next++));
  }
  segments_.merge(made);
  return before;
}

void segment_table::put_back(user_address at, std::uint64_t size, segments& before) noexcept {
  segments_.erase(segments_.lower_bound(at), segments_.lower_bound(at + size));
  segments_.merge(before);
}

std::vector<piece> segment_table::find(user_address start, user_address end) {
  std::vector<piece> found;
  if (covers(start, end)) add_pieces(start, end, found);
  user_address next = start;
  for (const piece& each : found) {
    if (each.at != next || !(each.protection & PROT_READ)) return {};
    next += each.of.size;
  }
  if (next != end) found.clear();
  return found;
}

bool segment_table::is_sole(const mapping& found) {
  std::vector<piece> pieces;
  add_pieces(found, found.start, found.end, pieces);
  const std::vector<mapping> all = has_common(pieces) ? all_mappings() : std::vector<mapping>{};
  user_address next = found.start;
  for (const piece& each : pieces) {
    const bool is_asked_for = each.of.is == segment::kind::inherited;
    if (each.at != next || is_asked_for || !is_alone(each, all)) return false;
    next += each.of.size;
  }
  return next == found.end;
}

std::vector<piece> segment_table::find_parts(user_address start, user_address end) {
  std::vector<piece> found;
  add_pieces(start, end, found);
  return found;
}

bool segment_table::freeze(const piece& sole) {
  split(sole.at);
  split(sole.at + sole.of.size);
  // Takes the pages out of the mapping first, all at once. A thread that touches one before the
  // mmap below gets it from the file again.
  void* const unused = mremap(pointer(sole.at), sole.of.size, sole.of.size,
                              MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  if (unused != MAP_FAILED) sole.of.file->keep(unused, sole.of.size);
  if (mmap(pointer(sole.at), sole.of.size, sole.protection, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
           sole.of.file->fd(), static_cast<off_t>(sole.of.offset)) == MAP_FAILED) {
    return false;
  }
  keep_inheritance(sole.at, sole.at + sole.of.size);
  segments_.at(sole.at).is = segment::kind::frozen;
  return true;
}

void segment_table::freeze_for_fork() {
  const bool none = std::none_of(segments_.begin(), segments_.end(), [](const auto& each) {
    return each.second.is != segment::kind::frozen && each.second.is != segment::kind::given;
  });
  if (none) return;
  std::vector<piece> pieces;
  add_pieces(0, ~user_address{0}, pieces);
  const std::vector<mapping> all = has_common(pieces) ? all_mappings() : std::vector<mapping>{};
  for (const piece& each : pieces) {
    if (each.of.is == segment::kind::frozen || each.of.is == segment::kind::given) continue;
    if (each.of.is != segment::kind::inherited && is_alone(each, all)) {
      freeze(each);
    } else if (!not_inherited.overlaps(each.at, each.at + each.of.size)) {
      change(each.at, each.of.size, segment::kind::given);
    }
  }
}

void segment_table::change(user_address at, std::uint64_t size, segment::kind to) {
  split(at);
  split(at + size);
  segments_.at(at).is = to;
}

bool segment_table::end_sharing(user_address start, user_address end) {
  const std::vector<piece> found = find_parts(start, end);
  const std::vector<mapping> all = has_common(found) ? all_mappings() : std::vector<mapping>{};
  for (const piece& each : found) {
    if (each.at != start || !is_alone(each, all)) return false;
    start += each.of.size;
  }
  if (start != end) return false;
  for (const piece& each : found) change(each.at, each.of.size, segment::kind::sole);
  return true;
}

bool segment_table::can_move(const std::vector<piece>& pieces) {
  const std::vector<mapping> all = has_common(pieces) ? all_mappings() : std::vector<mapping>{};
  return std::all_of(pieces.begin(), pieces.end(), [&](const piece& each) {
    return each.of.is == segment::kind::frozen ||
           (each.of.is != segment::kind::inherited && is_alone(each, all));
  });
}

// Returns the last segment that begins at or before the address, or end().
segment_table::segments::iterator segment_table::at_or_before(user_address at) {
  auto next = segments_.upper_bound(at);
  return next == segments_.begin() ? segments_.end() : --next;
}

// Removes all that Linux does not report as mapped any more.
void segment_table::sweep() {
  std::vector<piece> mapped;
  add_pieces(0, ~user_address{0}, mapped);
  segments left;
  for (piece& each : mapped) left.emplace(each.at, std::move(each.of));
  segments_ = std::move(left);
  sweep_threshold_ = std::max<std::size_t>(32, 2 * segments_.size());
}

// Splits the segment that contains the address, so that one begins there.
void segment_table::split(user_address at) {
  const auto found = at_or_before(at);
  if (found == segments_.end() || found->first == at || found->first + found->second.size <= at) {
    return;
  }
  segment rest = found->second;
  const std::uint64_t before = at - found->first;
  rest.offset += before;
  rest.size -= before;
  segments_.emplace(at, std::move(rest));
  found->second.size = before;
}

// Returns true if the table has segments for the whole range.
bool segment_table::covers(user_address start, user_address end) {
  for (auto found = at_or_before(start); found != segments_.end() && found->first <= start &&
                                         found->first + found->second.size > start;
       ++found) {
    start = found->first + found->second.size;
    if (start >= end) return true;
  }
  return false;
}

// Appends the parts of the range for which the table and Linux agree.
void segment_table::add_pieces(user_address start, user_address end, std::vector<piece>& to) {
  for (const mapping& each : mappings(start, end)) add_pieces(each, start, end, to);
}

// The same for the part of the range that is in one mapping.
void segment_table::add_pieces(const mapping& of, user_address start, user_address end,
                               std::vector<piece>& to) {
  const user_address last = std::min<user_address>(of.end, end);
  user_address at = std::max<user_address>(of.start, start);
  auto next = at_or_before(at);
  if (next == segments_.end()) next = segments_.begin();
  for (; next != segments_.end() && next->first < last; ++next) {
    const segment& part = next->second;
    if (next->first + part.size <= at) continue;
    at = std::max(at, next->first);
    const user_address until = std::min(last, next->first + part.size);
    const std::uint64_t offset = part.offset + (at - next->first);
    if (part.file->is(of.device, of.file) && offset == of.offset + (at - of.start) &&
        of.shared == (part.is != segment::kind::frozen)) {
      to.push_back({at, {part.file, offset, until - at, part.is}, of.protection});
    }
  }
}

}  // namespace kedge::mach::kernel::address_space
