// process_state: the variables of a thread that belong to the process that runs on it. A scheduler
// that runs several simulated processes on one thread exchanges them at every switch.
//
//     constinit thread_local reactor* current_reactor = nullptr;
//     const base::process_state current_reactor_of_process(
//         [] { return static_cast<void*>(&current_reactor); }, sizeof current_reactor);
//
// A variable of all zeros must be one that a new thread begins with, and its value must stay valid
// when its bytes move elsewhere and back.
//
// Threads: objects are made during static initialisation, and live as long as the program.
#pragma once

#include <algorithm>
#include <cstddef>

namespace kedge::base {

class process_state {
 public:
  // `address` returns that of the calling thread's variable.
  process_state(void* (*address)(), std::size_t size) noexcept
      : address_(address), size_(size), next_(first_) {
    first_ = this;
    total_ += size;
  }
  process_state(const process_state&) = delete;
  process_state& operator=(const process_state&) = delete;

  // Exchanges the calling thread's variables with what `kept` has: total() bytes, all zero for a
  // process that has not run yet.
  static void exchange(std::byte* kept) noexcept {
    for (const process_state* each = first_; each != nullptr; each = each->next_) {
      auto* const at = static_cast<std::byte*>(each->address_());
      std::swap_ranges(at, at + each->size_, kept);
      kept += each->size_;
    }
  }
  static std::size_t total() noexcept { return total_; }

 private:
  void* (*const address_)();
  const std::size_t size_;
  const process_state* const next_;
  static inline constinit const process_state* first_ = nullptr;
  static inline constinit std::size_t total_ = 0;
};

}  // namespace kedge::base
