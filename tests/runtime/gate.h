// gate: a source for tests. Its operation waits until the gate is opened. The gate counts the calls
// of the operation's functions, so that a test can check the protocol of
// kedge/runtime/awaiting/operation.h.
#pragma once

#include <exception>
#include <stdexcept>
#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

struct gate {
  enum class cancelling {
    withdraws,  // await_cancel returns true
    completes,  // the gate opens, await_cancel returns false
    ends_late,  // await_cancel returns false, and the wait ends as cancelled when the gate opens
  };

  bool is_open = false;
  bool fails = false;            // await_resume throws
  bool refuses = false;          // await_suspend throws
  bool ends_in_suspend = false;  // await_suspend returns false
  cancelling answer = cancelling::withdraws;

  // How many operations were made and destroyed, and how often await_ready (asked), await_suspend
  // (started), await_cancel and await_resume were called.
  int made = 0, asked = 0, started = 0, cancelled = 0, resumed = 0, destroyed = 0;
  waiter* waiting = nullptr;  // null: no operation waits

  // Ends the wait in progress, and every later wait at once.
  void open() noexcept {
    is_open = true;
    if (waiter* const w = std::exchange(waiting, nullptr)) wake(*w);
  }

  class operation {
   public:
    explicit operation(gate& g) noexcept : gate_(g) { ++gate_.made; }
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    ~operation() {
      ++gate_.destroyed;
      if (waits_) gate_.waiting = nullptr;
    }
    bool await_ready() noexcept {
      ++gate_.asked;
      return gate_.is_open;
    }
    bool await_suspend(waiter& w) {
      if (gate_.refuses) throw std::runtime_error("refused");
      ++gate_.started;
      if (gate_.ends_in_suspend) return false;
      gate_.waiting = &w;
      waits_ = true;
      return true;
    }
    bool await_cancel(cancel_cause) noexcept {
      ++gate_.cancelled;
      if (gate_.answer == cancelling::withdraws) gate_.waiting = nullptr;
      if (gate_.answer == cancelling::completes) gate_.open();
      if (gate_.answer == cancelling::ends_late) by_cancelling_ = true;
      return gate_.answer == cancelling::withdraws;
    }
    bool was_cancelled() const noexcept { return by_cancelling_; }
    std::exception_ptr await_failure() noexcept {
      return gate_.fails ? std::make_exception_ptr(std::runtime_error("failed")) : nullptr;
    }
    int await_resume() {
      ++gate_.resumed;
      if (gate_.fails) throw std::runtime_error("failed");
      return 42;
    }
    void describe(description& line) const noexcept { line.print("a gate"); }

   private:
    gate& gate_;
    bool waits_ = false;
    bool by_cancelling_ = false;
  };

  class awaitable {
   public:
    explicit awaitable(gate& g) noexcept : gate_(&g) {}
    operation operator co_await() && noexcept { return operation(*gate_); }

   private:
    gate* gate_;
  };
  awaitable wait() noexcept { return awaitable(*this); }
};

}  // namespace kedge
