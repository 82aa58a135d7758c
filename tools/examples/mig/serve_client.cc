// serve_client: a service, and its client that is written in C, with MIG's messages.
//
// The client runs on another thread (client.c). An empty word is an error, and stop() ends the
// service.
#include <cstdint>
#include <cstring>
#include <thread>

#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "letters.h"
#include "letters_requests.h"

namespace mach = kedge::mach;

namespace {

mach::message answer(const count_letters& request) {
  if (request.word.empty()) return mach::encode_error(count_letters::id, KERN_INVALID_ARGUMENT);
  return mach::encode_reply<count_letters>({request.word.size()});
}

mach::message answer(const draw& request) {
  const std::uint32_t scale = request.scale;
  auto picture = mach::memory_region::make(request.samples.size() * scale);
  std::byte* to = picture.bytes().data();
  for (const std::int16_t sample : request.samples) {
    std::memset(to, sample < 0 ? '-' : '+', scale);
    to += scale;
  }
  return mach::encode_reply<draw>({std::move(picture)});
}

template <mach::request T>
mach::message answer(mach::received& m) {
  const auto request = mach::decode<T>(m);
  return request ? answer(*request) : mach::encode_error(T::id, request.error());
}

}  // namespace

kedge::task<> serve(const mach::receive_right& requests) {
  for (;;) {
    mach::received m = (co_await requests.receive()).value();
    switch (m.id()) {
      case count_letters::id:
        mach::reply(m, answer<count_letters>(m));
        break;
      case draw::id:
        mach::reply(m, answer<draw>(m));
        break;
      case stop::id:
        if (mach::decode<stop>(m)) co_return;
        break;
      default:
        mach::reply(m, mach::encode_error(m.id(), MIG_BAD_ID));
        break;
    }
  }
}

int main() {
  kedge::loop loop;
  const auto port = mach::receive_right::make();
  const mach::send_right service = port.make_send();
  std::thread client(ask_for_letters, service.name());
  loop.run(serve(port));
  client.join();
}
