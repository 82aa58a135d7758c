#include "benchmark.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/when_all.h"

namespace mach = kedge::mach;

namespace {

constexpr mach_msg_id_t number_id = 1;

// Two tasks exchange one number, so that each message finds its receiver waiting.
kedge::task<> throw_and_catch(const mach::receive_right& mine, const mach::send_right& other,
                              std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mach::send(other, mach::message(number_id, i))).value();
    (co_await mine.receive()).value();
  }
}
kedge::task<> catch_and_throw(const mach::receive_right& mine, const mach::send_right& other,
                              std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mine.receive()).value();
    (co_await mach::send(other, mach::message(number_id, i))).value();
  }
}

}  // namespace

kedge::task<> pass_messages(kedge::loop&, std::uint64_t n) {
  const auto a = mach::receive_right::make();
  const auto b = mach::receive_right::make();
  const mach::send_right to_a = a.make_send();
  const mach::send_right to_b = b.make_send();
  co_await kedge::when_all(throw_and_catch(a, to_b, n / 2), catch_and_throw(b, to_a, n / 2));
}
