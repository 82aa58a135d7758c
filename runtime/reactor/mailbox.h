// remote::mailbox: the work that has been posted to a loop and has not run. For remote.cc and
// reactor.cc.
//
// A lock-free list: posters push at its head, and the loop takes all of it by one exchange. The
// head also says whether the loop sleeps or is gone, so that a post learns by the same instruction
// whether it has to wake the loop.
//
// Threads: enqueue() may be called on any thread, all else belongs to the loop's. The loop and its
// remotes share the mailbox, so it may outlive the loop.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/remote.h"

namespace kedge {

class remote::mailbox {
 public:
  // `kq` is the loop's kqueue, in which the loop has registered EVFILT_USER with wake_up_ident. A
  // post to a sleeping loop triggers this event. The mailbox does not own `kq`.
  explicit mailbox(int kq) noexcept : kq_(kq) {}
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox() = default;

  // Adds `w`, and wakes the loop if it sleeps. Any thread. Returns false, without having touched
  // `w`, after close() and in a forked child.
  bool enqueue(work& w) noexcept;

  // Runs the posted work in order. Returns false if there was none. Work that is posted while this
  // runs waits for the next call. Costs one load if there is none.
  bool run_posted() noexcept { return head_.load(std::memory_order_relaxed) > gone && run_all(); }
  // How much posted work has run.
  std::uint64_t posts() const noexcept { return posts_; }
  // The loop is about to sleep: the next post wakes it. Returns false, and the loop stays awake, if
  // posted work is waiting.
  bool fall_asleep() noexcept {
    std::uintptr_t head = awake;
    return head_.compare_exchange_strong(head, asleep, std::memory_order_relaxed) || head == asleep;
  }
  // The loop is awake: posts need not wake it.
  void wake_up() noexcept {
    std::uintptr_t head = asleep;
    head_.compare_exchange_strong(head, awake, std::memory_order_relaxed);
  }
  // Drops the waiting work and refuses further posts. The kqueue may be closed after this call.
  void close() noexcept;

 private:
  // Values of head_ that are not the address of the work posted last.
  static constexpr std::uintptr_t awake = 0;  // no work waits
  static constexpr std::uintptr_t asleep = 1;
  static constexpr std::uintptr_t gone = 2;

  bool of_this_process() const noexcept { return generation_ == fork_generation(); }
  bool run_all() noexcept;
  static work* in_order(std::uintptr_t head) noexcept;
  void trigger() const noexcept;

  std::atomic<std::uintptr_t> head_{asleep};
  std::atomic<unsigned> triggering_{0};  // posters that may be about to trigger the event
  std::uint64_t posts_ = 0;
  const int kq_;
  const unsigned generation_ = fork_generation();
};

// The ident of the loop's EVFILT_USER event, and the udata of the loop's own events. No
// registration has this udata: its index would be 2^32 - 1.
inline constexpr std::uint64_t wake_up_ident = 0;
inline constexpr std::uint64_t wake_up_udata = ~std::uint64_t{0};

}  // namespace kedge
