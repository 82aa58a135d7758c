// outside_heap: what the calling thread allocates while one lives belongs to the program, not to
// the simulated process that runs on the thread.
//
//     const base::outside_heap shared;  // other processes use the table too
//     table.insert(key);
//
// A simulation may give each of its processes a heap that it drops at the end. What outlives a
// process, or is shared with others, such as the objects of the kernels, must not come from there.
//
// Threads: each has a count of its own, which belongs to the process that runs (process_state).
#pragma once

namespace kedge::base {

class outside_heap {
 public:
  outside_heap() noexcept { enter(); }
  outside_heap(const outside_heap&) = delete;
  outside_heap& operator=(const outside_heap&) = delete;
  ~outside_heap() { leave(); }

  static void enter() noexcept { ++depth_; }
  static void leave() noexcept { --depth_; }

  static bool is_set() noexcept { return depth_ != 0; }
  // For process_state.
  static void* address_of_depth() noexcept { return &depth_; }

 private:
  static inline constinit thread_local unsigned depth_ = 0;
};

}  // namespace kedge::base
