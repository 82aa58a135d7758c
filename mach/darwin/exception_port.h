// exception_port: receives the exceptions of a task or of a thread, by Mach.
//
//     mach::darwin::exception_port port(EXC_MASK_BAD_ACCESS);
//     mach::darwin::exception e = (co_await port.next()).value();
//     log(e.type(), e.code());
//     std::move(e).pass_on();                      // the next handler, or the end of the task
//
// The thread that has raised the exception waits until its exception object has answered. An object
// that is destroyed passes it on. The loop must not run on a thread that may raise it.
//
// Errors: next() gives those of receive(). A message that is not the kernel's is dropped. A
// cancellation loses the exception that is being taken, as if it were passed on.
// Ownership: the handlers that were there before come back when the object is destroyed.
// Threads: the loop's thread only. Compiled for Darwin only, and never run so far.
#pragma once

#include <mach/mach.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/mach/array.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::mach::darwin {

// mach_exc.defs: routine mach_exception_raise.
struct exception_raise {
  static constexpr mach_msg_id_t id = 2405;
  send_right thread;
  send_right task;
  exception_type_t type;
  mach::array<std::int64_t, 2> code;
  struct reply {};
};

class exception {
 public:
  exception(received&& m, exception_raise&& raised) noexcept
      : message_(std::move(m)), raised_(std::move(raised)) {}
  exception(exception&&) = default;
  exception& operator=(exception&&) = delete;
  ~exception() { answer(KERN_FAILURE); }

  exception_type_t type() const noexcept { return raised_.type; }  // EXC_BAD_ACCESS and others
  std::int64_t code() const noexcept { return raised_.code.empty() ? 0 : raised_.code[0]; }
  std::int64_t subcode() const noexcept { return raised_.code.size() < 2 ? 0 : raised_.code[1]; }
  const send_right& thread() const noexcept { return raised_.thread; }
  const send_right& task() const noexcept { return raised_.task; }

  // Lets the thread go on where it was, or where the handler has set its state to.
  void resume() && noexcept { answer(KERN_SUCCESS); }
  // Leaves the exception to the next handler.
  void pass_on() && noexcept { answer(KERN_FAILURE); }

 private:
  void answer(kern_return_t code) noexcept;

  received message_;
  exception_raise raised_;
};

class exception_port {
 public:
  // Receives the exceptions in `mask` (EXC_MASK_*) of all threads of `task`, by default of this
  // one. Throws std::system_error and std::bad_alloc.
  explicit exception_port(exception_mask_t mask, mach_port_t task = mach_task_self());
  exception_port(const exception_port&) = delete;
  exception_port& operator=(const exception_port&) = delete;
  ~exception_port();

  // Waits for the next exception.
  kedge::task<result<exception>> next();

 private:
  receive_right port_ = receive_right::make();
  const mach_port_t task_;
  // Of the handlers before.
  std::array<exception_mask_t, EXC_TYPES_COUNT> masks_{};
  std::array<mach_port_t, EXC_TYPES_COUNT> ports_{};
  std::array<exception_behavior_t, EXC_TYPES_COUNT> behaviors_{};
  std::array<thread_state_flavor_t, EXC_TYPES_COUNT> flavors_{};
  mach_msg_type_number_t count_ = EXC_TYPES_COUNT;
};

}  // namespace kedge::mach::darwin
