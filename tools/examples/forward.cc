// forward: a front passes on whatever rights a request carries, and the reply right with them.
//
// The front does not know what the rights are for, and need not: take_any() takes a right of any
// kind, and append() sends it as the kind that it is. The worker answers the client directly.
#include <cstddef>
#include <cstdio>
#include <utility>

#include "kedge/mach/any_right.h"
#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

kedge::task<> front(mach::receive_right requests, mach::send_right worker) {
  mach::received request = (co_await requests.receive()).value();
  mach::message passed(request.id(), request.bytes());
  for (std::size_t i = 0; i < request.rights(); ++i) passed.append(request.take_any(i));
  passed.reply_to(request.take_reply());
  const auto sent = co_await mach::send(worker, std::move(passed));
  if (!sent) std::printf("front: %s\n", sent.error().code().message().c_str());
}

kedge::task<> work(mach::receive_right requests) {
  static constexpr const char* kinds[] = {"nothing", "a send right", "a send-once right",
                                          "a receive right", "a dead right"};
  mach::received request = (co_await requests.receive()).value();
  for (auto& d : request.descriptors()) {
    const mach::any_right right = d.take_any();
    std::printf("the worker has got %s\n", kinds[static_cast<int>(right.what())]);
  }
  mach::reply(request, mach::message(0, "done"));
}

kedge::task<> ask(mach::send_right service) {
  const auto own = mach::receive_right::make();
  mach::message request(0, own.make_send(), own.make_send_once(), mach::receive_right::make());
  request.append(mach::receive_right::make().make_send());  // its port is dead by now
  const auto answer = (co_await mach::call(service, std::move(request))).value();
  std::printf("the client has got: %.*s\n", int(answer.text().size()), answer.text().data());
}

int main() {
  kedge::loop loop;
  auto requests = mach::receive_right::make(), jobs = mach::receive_right::make();
  const mach::send_right service = requests.make_send();
  loop.spawn(front(std::move(requests), jobs.make_send()));
  loop.spawn(work(std::move(jobs)));
  loop.run(ask(service));
}
