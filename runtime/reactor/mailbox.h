// remote::mailbox: what other threads have posted to a loop. For remote.cc and reactor.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "kedge/runtime/remote.h"

namespace kedge {

class remote::mailbox {
 public:
  // Wakes the loop by triggering the user event `ident` of `kq`, which the loop has registered.
  explicit mailbox(int kq) noexcept : kq_(kq) {}
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox();

  // From any thread.
  bool enqueue(std::unique_ptr<posted> work);

  // From the loop. Runs what has been posted, in order; true if there was anything.
  bool run_posted() noexcept;
  // The loop is about to sleep: from now on a post wakes it. False if something has been posted.
  bool fall_asleep() noexcept;
  void wake_up() noexcept;
  // The loop is gone; drops what was not run.
  void close() noexcept;

 private:
  static void drop(std::unique_ptr<posted> first) noexcept;

  std::mutex mutex_;
  std::unique_ptr<posted> first_;
  posted* last_ = nullptr;
  int kq_;  // -1 once the loop is gone
  bool asleep_ = true;
};

// The loop's EVFILT_USER event, and the udata of all that is the loop's own (no registration's: its
// index would be 2^32 - 1).
inline constexpr std::uint64_t wake_up_ident = 0;
inline constexpr std::uint64_t wake_up_udata = ~std::uint64_t{0};

}  // namespace kedge
