// branch_range<A>: any number of branches of one type. See branch_set.h.
//
// The branches lie in one block, which make_branches() allocates when the wait begins. It is
// released with the operation.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/result.h"

namespace kedge {

// The type of an awaitable's value in a container: std::monostate for void, a
// std::reference_wrapper for a reference.
template <awaitable A>
using any_value_t = typename result_detail::held<awaited_t<A>>::type;

template <awaitable A>
class branch_range : protected branch_owner {
 protected:
  using held_branch = branch<operation_of<A>>;

  explicit branch_range(std::vector<A>&& awaitables) noexcept
      : count(awaitables.size()), awaitables_(std::move(awaitables)) {}
  // The latest first, as an array.
  ~branch_range() {
    while (made_ != 0) std::destroy_at(branches_ + --made_);
    if (branches_ != nullptr) std::allocator<held_branch>().deallocate(branches_, count);
  }

  // Calls f on every branch, in order.
  template <class F>
  void for_each(F f) {
    for (std::size_t i = 0; i < made_; ++i) f(branches_[i]);
  }

  // Throws std::bad_alloc.
  void make_branches() {
    branches_ = std::allocator<held_branch>().allocate(count);
    for (; made_ < count; ++made_) {
      std::construct_at(branches_ + made_, std::move(awaitables_[made_]),
                        static_cast<branch_owner&>(*this));
    }
  }

  const std::size_t count;

 public:
  branch_range(const branch_range&) = delete;
  branch_range& operator=(const branch_range&) = delete;

 private:
  std::vector<A> awaitables_;  // moved from once the branches are made
  held_branch* branches_ = nullptr;
  std::size_t made_ = 0;
};

}  // namespace kedge
