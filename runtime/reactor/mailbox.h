// remote::mailbox: the work that has been posted to a loop and has not run. For remote.cc and
// reactor.cc.
//
// Threads: enqueue() may be called on any thread, all else belongs to the loop's. The loop and its
// remotes share the mailbox, so it may outlive the loop.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "kedge/runtime/remote.h"

namespace kedge {

class remote::mailbox {
 public:
  // `kq` is the loop's kqueue, in which the loop has registered EVFILT_USER with wake_up_ident. A
  // post to a sleeping loop triggers this event. The mailbox does not own `kq`.
  explicit mailbox(int kq) noexcept : kq_(kq) {}
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox();

  // Adds `work`, and wakes the loop if it sleeps. Any thread. Returns false, and destroys `work`,
  // after close().
  bool enqueue(std::unique_ptr<posted> work);

  // Runs the posted work in order. Returns false if there was none. Work that is posted while this
  // runs waits for the next call.
  bool run_posted() noexcept;
  // The loop is about to sleep: the next post wakes it. Returns false, and the loop stays awake, if
  // posted work is waiting.
  bool fall_asleep() noexcept;
  // The loop is awake: posts need not wake it.
  void wake_up() noexcept;
  // Destroys the waiting work and refuses further posts. The kqueue may be closed after this call.
  void close() noexcept;

 private:
  static void drop(std::unique_ptr<posted> first) noexcept;

  std::mutex mutex_;
  std::unique_ptr<posted> first_;
  posted* last_ = nullptr;
  int kq_;  // -1 once the loop is gone
  bool asleep_ = true;
};

// The ident of the loop's EVFILT_USER event, and the udata of the loop's own events. No
// registration has this udata: its index would be 2^32 - 1.
inline constexpr std::uint64_t wake_up_ident = 0;
inline constexpr std::uint64_t wake_up_udata = ~std::uint64_t{0};

}  // namespace kedge
