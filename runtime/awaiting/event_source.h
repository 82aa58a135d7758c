// event_source<T>: what a source of kernel events shares with its one wait.
//
// The source keeps what has come until a wait takes it. It is on the heap, held by the user's
// object (a vnode, for example) and by its awaitables, so that the object can be destroyed during a
// wait. event_awaitable<T> is the awaitable, which gives a result<T>. It takes when its task has
// the turn, so a cancellation loses nothing.
//
// registered_source<T> is a source of one registration.
//
// Threads: the loop's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/result.h"

namespace kedge {

template <class T>
class event_operation;

template <class T>
class event_source {
 public:
  event_source(const event_source&) = delete;
  event_source& operator=(const event_source&) = delete;
  virtual ~event_source() = default;

  // Ends the wait in progress and all later ones with `why`. The first reason stays.
  void end(std::error_code why) noexcept {
    if (!end_) end_ = why;
    wake_waiting();
  }
  bool is_awaited() const noexcept { return waiting_ != nullptr; }

 protected:
  event_source() = default;

  // Something has come, or may have: the wait in progress looks at its turn.
  void wake_waiting() noexcept {
    if (waiting_ != nullptr) wake(*waiting_);
  }

 private:
  friend class event_operation<T>;

  // Takes what has come, or gives why that cannot be known. Nothing: the wait goes on.
  virtual std::optional<result<T>> take() noexcept = 0;
  // Returns false if the loop is gone, as it is in the child of a fork.
  virtual bool has_loop() const noexcept = 0;
  // For the message of an error.
  virtual failed_operation operation() const noexcept = 0;
  // What the wait is for, for a dump.
  virtual void describe(description& line) const noexcept = 0;

  waiter* waiting_ = nullptr;
  std::error_code end_;
};

template <class T>
class event_operation {
 public:
  explicit event_operation(std::shared_ptr<event_source<T>> s) noexcept : source_(std::move(s)) {}
  event_operation(const event_operation&) = delete;
  event_operation& operator=(const event_operation&) = delete;
  ~event_operation() { leave(); }

  bool await_ready() noexcept {
    if (source_->end_) return fail(source_->end_);
    if (source_->waiting_ != nullptr) return fail(errc::already_awaited);
    return has_outcome();
  }
  bool await_suspend(waiter& w) noexcept {
    waits_ = true;
    source_->waiting_ = &w;
    return true;
  }
  bool await_settle() noexcept {
    if (!has_outcome()) return false;
    leave();
    return true;
  }
  bool await_cancel(cancel_cause) noexcept {
    leave();
    return true;
  }
  result<T> await_resume() { return *std::move(outcome_); }
  void describe(description& line) const noexcept { source_->describe(line); }

 private:
  bool fail(std::error_code why) noexcept {
    outcome_ = unexpected(why, source_->operation());
    return true;
  }
  bool has_outcome() noexcept {
    if (source_->end_) return fail(source_->end_);
    outcome_ = source_->take();
    return outcome_ || (!source_->has_loop() && fail(errc::loop_gone));
  }
  void leave() noexcept {
    if (std::exchange(waits_, false)) source_->waiting_ = nullptr;
  }

  std::shared_ptr<event_source<T>> source_;
  std::optional<result<T>> outcome_;
  bool waits_ = false;
};

template <class T>
class [[nodiscard]] event_awaitable {
 public:
  explicit event_awaitable(std::shared_ptr<event_source<T>> s) noexcept : source_(std::move(s)) {}
  event_operation<T> operator co_await() && noexcept {
    return event_operation<T>(std::move(source_));
  }

 private:
  std::shared_ptr<event_source<T>> source_;
};

template <class T>
class registered_source : public event_source<T>, protected listener {
 protected:
  registered_source() = default;
  ~registered_source() override { unlink(); }

  // Registers in the kernel before it returns. Throws std::system_error with the kernel's answer,
  // whose message begins with `what`, and std::bad_alloc.
  void open(reactor& r, sharing s, std::int16_t filter, std::uint64_t ident, std::uint32_t fflags,
            const char* what) {
    registration_ = registration(r, s, filter, ident, fflags);
    std::error_code refused = registration_.link(*this);
    if (!refused) r.submit_changes();
    if (!refused && !linked()) refused = registration_.link(*this);
    if (refused) throw std::system_error(refused, what);
  }
  void close() noexcept {
    unlink();
    registration_.close();
    this->end(errc::closed);
  }
  void closed(std::error_code why) noexcept override { this->end(why); }
  bool can_wake() const noexcept override { return this->is_awaited(); }
  bool has_loop() const noexcept final { return static_cast<bool>(registration_); }

  registration registration_;
};

}  // namespace kedge
