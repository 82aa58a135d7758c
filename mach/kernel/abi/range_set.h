// range_set: ranges of addresses, for example those that no call may unmap.
//
// Copies of the ranges: it owns no memory of them, and does not know if they are mapped.
// Threads: the owner of the set locks. Errors: add() and remove() throw std::bad_alloc. A range
// that add() could not insert is then outside of the set, or as it was before.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace kedge::mach::kernel {

class range_set {
 public:
  using address = std::uint64_t;

  bool empty() const noexcept { return ends_.empty(); }

  // Throws std::bad_alloc.
  void add(address start, address end) {
    remove(start, end);
    ends_.emplace(start, end);
  }

  // Throws std::bad_alloc.
  void remove(address start, address end) {
    split(start);
    split(end);
    ends_.erase(ends_.lower_bound(start), ends_.lower_bound(end));
  }

  // Calls visit(start, end, is_inside) for the parts of the range, in order: each is inside of the
  // set, or outside. `visit` must not change the set.
  template <typename Visit>
  void for_each_part(address start, address end, Visit&& visit) const {
    auto next = ends_.upper_bound(start);
    if (next != ends_.begin() && std::prev(next)->second > start) --next;
    while (start < end) {
      const bool is_last = next == ends_.end() || next->first >= end;
      const address begin = is_last ? end : std::max(next->first, start);
      if (begin > start) visit(start, begin, false);
      if (is_last) return;
      start = std::min(next->second, end);
      visit(begin, start, true);
      ++next;
    }
  }

  bool overlaps(address start, address end) const {
    bool found = false;
    for_each_part(start, end, [&](address, address, bool is_inside) { found |= is_inside; });
    return found;
  }

 private:
  // Splits the range that contains the address, so that one begins there.
  void split(address at) {
    auto found = ends_.lower_bound(at);
    if (found == ends_.begin() || (--found)->second <= at) return;
    ends_.emplace(at, found->second);
    found->second = at;
  }

  std::map<address, address> ends_;  // by start
};

}  // namespace kedge::mach::kernel
