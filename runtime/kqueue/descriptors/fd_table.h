// A table with a place for every descriptor number, in two levels, so that a number of a million
// costs little. The first page is always there: a look-up of a small number is one load. The other
// places are made on demand and stay. Any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>

namespace kedge::kqueue {

template <class T>
class fd_table {
 public:
  // The place of a number; null if it has none (yet).
  std::atomic<T>* find(int number) const noexcept {
    const unsigned n = static_cast<unsigned>(number);  // a negative one is beyond every page
    if (n < page_size) [[likely]]
      return &first_.at[n];
    if (n / page_size >= page_count) return nullptr;
    page* const p = pages_[n / page_size].load(std::memory_order_acquire);
    return p != nullptr ? &p->at[n % page_size] : nullptr;
  }

  // The same, made if need be. Null: no memory, or a number beyond sixteen million.
  std::atomic<T>* make(int number) noexcept {
    const unsigned n = static_cast<unsigned>(number);
    if (n < page_size || n / page_size >= page_count) return find(number);
    std::atomic<page*>& p = pages_[n / page_size];
    if (p.load(std::memory_order_acquire) == nullptr) {
      page* const fresh = new (std::nothrow) page{};
      page* expected = nullptr;
      if (!p.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) delete fresh;
    }
    return find(number);
  }

  // visit(number, place) for every place in [first, last].
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

  // Forgets all. For the child of a fork, where nobody else looks.
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
