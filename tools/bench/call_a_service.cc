#include <array>

#include "benchmark.h"
#include "kedge/mach/call.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/when_all.h"

namespace mach = kedge::mach;

namespace {

constexpr mach_msg_id_t question_id = 1, answer_id = 2;
using payload = std::array<std::uint64_t, 8>;

kedge::task<> ask(const mach::send_right& service, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mach::call(service, mach::message(question_id, payload{i}))).value();
  }
}
kedge::task<> answer(const mach::receive_right& requests, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    mach::received request = (co_await requests.receive()).value();
    mach::reply(request, mach::message(answer_id, payload{i}));
  }
}

struct question {
  static constexpr mach_msg_id_t id = question_id;
  payload numbers;
  struct reply {
    payload numbers;
  };
};

kedge::task<> ask_typed(const mach::send_right& service, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mach::call<question>(service, payload{i})).value();
  }
}
kedge::task<> answer_typed(const mach::receive_right& requests, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    mach::received m = (co_await requests.receive()).value();
    const auto request = mach::decode<question>(m);
    mach::reply(m, mach::encode_reply<question>({request.value().numbers}));
  }
}

}  // namespace

kedge::task<> call_a_service(kedge::loop&, std::uint64_t n) {
  const auto requests = mach::receive_right::make();
  const mach::send_right service = requests.make_send();
  co_await kedge::when_all(ask(service, n), answer(requests, n));
}

kedge::task<> call_a_typed_service(kedge::loop&, std::uint64_t n) {
  const auto requests = mach::receive_right::make();
  const mach::send_right service = requests.make_send();
  co_await kedge::when_all(ask_typed(service, n), answer_typed(requests, n));
}
