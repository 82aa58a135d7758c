// allocation_check: asks the observer of a loop before the runtime allocates for it.
//
// For reactor.cc, which names the observer while its loop is driven, and for what allocates.
//
// Threads: any thread; each has an observer of its own, or none.
#pragma once

namespace kedge {

class observer;

class allocation_check {
 public:
  // Throws std::bad_alloc if the calling thread's observer makes this allocation fail.
  static void run() {
    if (asked_ != nullptr) [[unlikely]]
      ask();
  }

  // Makes the calling thread's allocations ask `o`; null: none.
  static void set_observer(observer* o) noexcept;
  static bool is_on() noexcept { return asked_ != nullptr; }
  // For process_state.
  static void* address_of_asked() noexcept { return static_cast<void*>(&asked_); }

 private:
  static void ask();

  static constinit thread_local observer* asked_;
};

}  // namespace kedge
