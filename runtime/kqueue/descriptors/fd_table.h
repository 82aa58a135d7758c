// fd_table: a table with a place for every fd, in two levels, so that an fd of a million costs
// little. The first page is always there, so that looking up a small fd is one load. Other places
// are made on demand and are not freed.
//
// Threads: any. A place is an atomic.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>

namespace kedge::kqueue {

template <class T>
class fd_table {
 public:
  // Returns the place of an fd, or null if none was made.
  std::atomic<T>* find(int fd) const noexcept {
    const unsigned n = static_cast<unsigned>(fd);  // a negative one is beyond every page
    if (n < page_size) [[likely]]
      return &first_.at[n];
    if (n / page_size >= page_count) return nullptr;
    page* const p = pages_[n / page_size].load(std::memory_order_acquire);
    return p != nullptr ? &p->at[n % page_size] : nullptr;
  }

  // Returns the place of an fd, and makes it if need be. Returns null without memory, and for an fd
  // beyond sixteen million.
  std::atomic<T>* make(int fd) noexcept {
    const unsigned n = static_cast<unsigned>(fd);
    if (n < page_size || n / page_size >= page_count) return find(fd);
    std::atomic<page*>& p = pages_[n / page_size];
    if (p.load(std::memory_order_acquire) == nullptr) {
      page* const fresh = new (std::nothrow) page{};
      page* expected = nullptr;
      if (!p.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) delete fresh;
    }
    return find(fd);
  }

  // Calls visit(fd, place) for every place in [first, last].
  template <class Visit>
  void each(unsigned first, unsigned last, Visit visit) const noexcept {
    last = std::min(last, page_size * page_count - 1);
    for (unsigned n = first; n <= last; ++n) {
      page* const p =
          n < page_size ? &first_ : pages_[n / page_size].load(std::memory_order_acquire);
      if (p == nullptr) {
        n |= page_size - 1;
      } else {
        visit(static_cast<int>(n), p->at[n % page_size]);
      }
    }
  }

  // Resets all places. Only for the child of a fork, where no other thread uses the table.
  void clear() noexcept {
    for (std::atomic<T>& place : first_.at) {
      if (place.load(std::memory_order_relaxed) != T{}) place.store(T{}, std::memory_order_relaxed);
    }
    for (std::atomic<page*>& p : pages_) {
      if (p.load(std::memory_order_relaxed) != nullptr) delete p.exchange(nullptr);
    }
  }

 private:
  static constexpr unsigned page_size = 1024;
  static constexpr unsigned page_count = 16384;
  struct page {
    std::atomic<T> at[page_size];
  };

  mutable page first_{};
  std::atomic<page*> pages_[page_count]{};  // the first of them is never used
};

}  // namespace kedge::kqueue
