// port_registration: the registration of a port or a set with one loop's kqueue (EVFILT_MACHPORT).
// port_receiver: the base of the operation that waits by it.
//
// The registration is the listener of its own events, and stays linked between waits: to wait costs
// a pointer. Its owner is a port_source, which may be closed on another thread than the loop's. So
// end() posts the removal to the loop, and the loop's thread alone deletes the object.
//
// It asks for no message with the event (MACH_RCV_MSG in fflags): the kernel would drop
// MACH_RCV_GUARDED_DESC there, and destroy the guarded rights of a message. It would also take the
// message when the event is delivered, not when the task gets its turn: a task that is cancelled,
// or that appends the right to a message, would have to put it back, which no call can.
//
// Threads: the loop's thread only, but for end().
#pragma once

#include <mach/mach.h>

#include <memory>
#include <optional>
#include <system_error>

#include "kedge/mach/port_source.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/remote.h"

namespace kedge::mach {

class port_registration;

class port_receiver {
 public:
  port_receiver(const port_receiver&) = delete;
  port_receiver& operator=(const port_receiver&) = delete;

 protected:
  explicit port_receiver(port_source_hold s) noexcept : source_(std::move(s)) {}
  // Requires that it does not wait.
  ~port_receiver() = default;
  // Waits no longer. Has no effect if it does not wait.
  inline void stop() noexcept;

  port_source_hold source_;
  waiter* waiter_ = nullptr;
  port_registration* at_ = nullptr;  // by which it waits
  std::optional<std::error_code> error_;

 private:
  friend class port_registration;
};

class port_registration final : private listener, private remote::work {
 public:
  // Throws std::bad_alloc.
  port_registration(reactor& r, mach_port_name_t name);

  // Closes the registrations with `r` whose removal was posted and has not run yet. Their names may
  // be in use again: the kernel has dropped what it knew of them.
  static void close_ended(reactor& r);

  bool is_in(reactor& r) const noexcept { return table_ == r.registrations(); }
  // Closes the registration with `why`, on its loop's thread, and deletes this object.
  void end(std::error_code why) noexcept;

  // Returns true if begin() can be called.
  bool is_linked() const noexcept { return linked(); }
  // Links it. Fails as registration::link().
  std::error_code link() noexcept { return linked() ? std::error_code() : in_loop_.link(*this); }
  // The receiver waits by this registration, and is woken by its events. Requires that it is
  // linked, and the claim of its source.
  void begin(port_receiver& by) noexcept {
    by.at_ = this;
    receiver_ = &by;
  }

  // Returns true if a message may be queued: an event has reported one, and clear() was not called
  // since.
  bool ready() const noexcept { return in_loop_.ready(); }
  // Requires that the registration is open.
  void clear() noexcept { in_loop_.clear(); }
  bool is_open() const noexcept { return static_cast<bool>(in_loop_); }

  base::list_link<port_registration> ended_link;

 private:
  friend class port_receiver;
  struct ended_list {
    base::mutex lock;
    base::list<port_registration, &port_registration::ended_link> all;
  };
  struct ended_of_loop {
    explicit ended_of_loop(reactor&) {}
    const std::shared_ptr<ended_list> ended = std::make_shared<ended_list>();
  };

  ~port_registration();
  void run() noexcept override;
  void drop() noexcept override { run(); }

  void notify(const kevent64_s&) noexcept override;
  bool is_idle() const noexcept override { return receiver_ == nullptr; }
  bool can_wake() const noexcept override;
  void closed(std::error_code why) noexcept override;

  registration in_loop_;
  port_receiver* receiver_ = nullptr;
  const std::shared_ptr<registration_table> table_;
  const weak_remote loop_;
  const std::shared_ptr<ended_list> ended_;
  const unsigned generation_ = fork_generation();
  std::error_code why_;
};

void port_receiver::stop() noexcept {
  if (at_ == nullptr) return;
  at_->receiver_ = nullptr;
  at_ = nullptr;
}

}  // namespace kedge::mach
