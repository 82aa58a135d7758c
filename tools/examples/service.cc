// service: a service that counts letters, and its client, on one loop.
//
// Shows check-in and look-up, requests, replies with a deadline, and the notification of the
// service's death. The request "bye" ends the service.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/died.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"

namespace mach = kedge::mach;

// The name server of this process.
using name_table = std::map<std::string, mach::send_right, std::less<>>;

kedge::task<> serve(mach::receive_right requests) {
  for (bool asked_to_end = false; !asked_to_end;) {
    mach::received request = (co_await requests.receive()).value();
    const std::string_view word = request.text();
    asked_to_end = word == "bye";
    // The client may be gone by now. The service does not care.
    mach::reply(request, mach::message(0, std::uint64_t{word.size()}));
  }
}  // The receive right ends here, and with it the service.

kedge::task<> ask(const name_table& names) {
  const mach::send_right& service = names.at("org.example.letters");  // look-up
  for (std::string_view word : {"kedge", "anchor", "bye"}) {
    auto reply = co_await kedge::with_timeout(std::chrono::seconds(5),
                                              mach::call(service, mach::message(0, word)));
    const auto count = reply.value().read<std::uint64_t>().value();
    std::printf("%.*s: %llu\n", int(word.size()), word.data(), (unsigned long long)count);
  }
  (co_await mach::died(service)).value();
  std::puts("the service has died");
}

int main() {
  kedge::loop loop;
  name_table names;
  auto requests = mach::receive_right::make();
  names.emplace("org.example.letters", requests.make_send());  // check-in
  loop.spawn(serve(std::move(requests)));
  loop.run(ask(names));
}
