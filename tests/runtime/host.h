// host: a program with a main loop of its own, which drives kedge loops by their handles alone.
//
// host_test.cc is linked with one of the hosts: of poll(2) here, of GLib's and libuv's main loops
// in tests/consumers. To each of them a loop is an fd, and poll() a callback.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "kedge/runtime/loop.h"

namespace kedge {

class host {
 public:
  host() = default;
  host(const host&) = delete;
  host& operator=(const host&) = delete;
  virtual ~host() = default;

  // Drives `l` whenever its handle is readable, until forget(l).
  virtual void watch(loop& l) = 0;
  virtual void forget(loop& l) = 0;

  // Runs the main loop until `is_over`, which is asked before each round. Returns false if no
  // handle became readable for a long time. Throws what poll() has thrown in a callback.
  bool run_until(const std::function<bool()>& is_over) {
    while (!is_over()) {
      is_silent_ = false;
      go_round(true);
      if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
      if (is_silent_) return false;
    }
    return true;
  }
  // Runs the main loop until no handle is readable.
  void settle() {
    for (int before = -1; before != drives_;) {
      before = drives_;
      go_round(false);
    }
  }
  // How often poll() was called.
  int drives() const noexcept { return drives_; }

 protected:
  static constexpr int longest_silence_ms = 60'000;

  // One round of the main loop: waits for an event if `may_wait`, and handles what has come.
  virtual void go_round(bool may_wait) = 0;

  // For the callback of a handle that is readable. It returns to C, which no exception may pass.
  void drive(loop& l) noexcept {
    ++drives_;
    try {
      l.poll();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  // For a round that has waited for longest_silence_ms.
  void note_silence() noexcept { is_silent_ = true; }

 private:
  int drives_ = 0;
  bool is_silent_ = false;
  std::exception_ptr failure_;
};

std::unique_ptr<host> make_host();

}  // namespace kedge
