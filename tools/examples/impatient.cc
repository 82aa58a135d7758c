// impatient: a client that waits for an answer no longer than it must, and tells what has become of
// it.
//
// with_timeout() bounds a call. If the request was not sent yet it comes back, and can be sent
// elsewhere; if it was sent, only the answer is lost.
#include <chrono>
#include <cstdio>

#include "kedge/mach/call.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"

namespace mach = kedge::mach;
using namespace std::chrono_literals;

// Answers one request.
kedge::task<> serve(const mach::receive_right& requests) {
  mach::received request = (co_await requests.receive()).value();
  // Never waits, so that no client can hold the service up.
  mach::reply(request, mach::message(0, "here you are"));
}

kedge::task<> ask(const char* what, const mach::send_right& service) {
  auto reply = co_await kedge::with_timeout(10ms, mach::call(service, mach::message(0, "please")));
  if (reply) {
    std::printf("%s: %.*s\n", what, int(reply->text().size()), reply->text().data());
  } else {
    std::printf("%s: %s, %s\n", what, reply.error().code().message().c_str(),
                reply.error().message() ? "and the request is back" : "after the request was sent");
  }
}

int main() {
  kedge::loop loop;
  auto requests = mach::receive_right::make(1);  // room for one message
  const mach::send_right service = requests.make_send();
  loop.spawn(serve(requests));
  loop.run(ask("it answers", service));
  loop.run(ask("it is idle", service));  // the request stays in the queue
  loop.run(ask("its queue is full", service));
  requests.destroy();
  loop.run(ask("it is dead", service));
}
