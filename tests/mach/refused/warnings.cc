// Code of the Mach library that must not compile without a warning. As errors.cc.
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

kedge::task<> ignores(const mach::receive_right& port, const mach::send_right& to) {
  mach::send(to, mach::message(1));           // "nodiscard"
  mach::call(to, mach::message(1));           // "nodiscard"
  port.receive();                             // "nodiscard"
  co_await mach::send(to, mach::message(1));  // clang: "nodiscard"
  co_await mach::call(to, mach::message(1));  // clang: "nodiscard"
  co_await port.receive().at_most(100);       // clang: "nodiscard"
  mach::try_send(to, mach::message(1));       // "nodiscard"
}
