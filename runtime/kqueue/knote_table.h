// knote_table: the knotes of a kqueue that are not about descriptors, by filter and ident. A hash
// table that grows and never shrinks, so that adding a knote again allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/runtime/kqueue/knote_record.h"

namespace kedge::kqueue {

class knote_table {
 public:
  // Returns the head of the chain for (filter, ident), which may hold other knotes too.
  knote_record* chain(std::int16_t filter, std::uint64_t ident) const noexcept {
    return buckets_.empty() ? nullptr : buckets_[place(filter, ident)];
  }
  // Returns a knote of the first bucket in use from `bucket` on, and sets `bucket` to that. Null if
  // there is none.
  knote_record* any_from(std::size_t& bucket) const noexcept {
    for (; bucket < buckets_.size(); ++bucket) {
      if (buckets_[bucket] != nullptr) return buckets_[bucket];
    }
    return nullptr;
  }

  // Looks at all knotes.
  bool has_any(std::int16_t filter) const noexcept;

  void insert(knote_record& k);  // throws std::bad_alloc
  void remove(knote_record& k) noexcept;
  void clear() noexcept;  // frees the buckets

 private:
  std::size_t place(std::int16_t filter, std::uint64_t ident) const noexcept {
    const std::uint64_t key =
        (ident ^ (static_cast<std::uint64_t>(~filter) << 56)) * 0x9E3779B97F4A7C15u;
    return static_cast<std::size_t>(key >> 32) & (buckets_.size() - 1);
  }
  void grow();

  std::vector<knote_record*> buckets_;  // a power of two, or empty
  std::size_t size_ = 0;
};

}  // namespace kedge::kqueue
