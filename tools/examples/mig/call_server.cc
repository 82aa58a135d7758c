// call_server: a client of a server that is written in C, with MIG's messages.
//
// The server runs on another thread (server.c). An empty word is an error of the server's.
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include "kedge/mach/receive_right.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "letters.h"
#include "letters_requests.h"

namespace mach = kedge::mach;

kedge::task<> ask(const mach::send_right& service, const mach::send_right& watcher) {
  for (const char* const word : {"kedge", "anchors", ""}) {
    const auto counted = co_await mach::call<count_letters>(service, word);
    if (counted) {
      std::printf("%s: %llu\n", word, static_cast<unsigned long long>(counted->letters));
    } else {
      std::printf("\"%s\": %s\n", word, counted.error().code().message().c_str());
    }
  }
  const std::vector<std::int16_t> samples{1, -1, 1};
  const auto drawn = co_await mach::call<draw>(service, samples, 4, watcher);
  const std::string_view picture = drawn.value().picture.text();
  std::printf("%.*s\n", static_cast<int>(picture.size()), picture.data());
  (co_await mach::send<stop>(service)).value();
}

int main() {
  kedge::loop loop;
  const auto port = mach::receive_right::make();
  const auto watched = mach::receive_right::make();
  std::thread server(serve_letters, port.name());
  loop.run(ask(port.make_send(), watched.make_send()));
  server.join();
}
