// ask_once: a tool without a loop asks a service one question.
//
// The service runs in a thread with a loop of its own; the tool blocks until it has the answer, or
// until the time is over.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <thread>
#include <utility>

#include "kedge/mach/call_blocking.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;
using namespace std::chrono_literals;

kedge::task<> serve(mach::receive_right requests) {
  for (bool asked_to_end = false; !asked_to_end;) {
    mach::received request = (co_await requests.receive()).value();
    const std::string_view word = request.text();
    asked_to_end = word == "bye";
    mach::reply(request, mach::message(0, std::uint64_t{word.size()}));
  }
}

int main() {
  auto requests = mach::receive_right::make();
  const mach::send_right service = requests.make_send();
  std::thread thread([&requests] {
    kedge::loop loop;
    loop.run(serve(std::move(requests)));
  });
  for (const std::string_view word : {"kedge", "anchor", "bye"}) {
    const auto reply = mach::call_blocking(service, mach::message(0, word), 1h);
    const std::uint64_t count = reply.value().read<std::uint64_t>().value();
    std::printf("%.*s: %llu\n", int(word.size()), word.data(), (unsigned long long)count);
  }
  thread.join();
  const auto late = mach::call_blocking(service, mach::message(0, "again"));
  std::printf("again: %s\n", late.error().code().message().c_str());
}
