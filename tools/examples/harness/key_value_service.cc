// key_value_service: every key has a version, which each put raises. A client that has read a
// version waits for a later one.
#include "key_value_service.h"

#include <servers/bootstrap.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

namespace key_value {
namespace {

// What a reply says of a key. Version 0: it has no value.
struct state {
  std::uint64_t version = 0;
  std::uint64_t value = 0;
};

class store {
 public:
  explicit store(bool is_hasty) noexcept : is_hasty_(is_hasty) {}

  void answer(mach::received m) {
    auto in = m.reader();
    const std::optional<std::string_view> key = in.text();
    const std::optional<std::uint64_t> number = in.read<std::uint64_t>();
    if (!key) return;
    entry& e = entries_[std::string(*key)];
    switch (m.id()) {
      case put:
        if (!number) return;
        e.now = {e.now.version + 1, *number};
        tell(m.take_reply(), put, e.now);
        for (mach::reply_right& each : e.waiting) tell(std::move(each), wait, e.now);
        e.waiting.clear();
        break;
      case get:
        tell(m.take_reply(), get, e.now);
        break;
      case wait:
        if (!number) return;
        if (!is_hasty_ && e.now.version > *number) {
          tell(m.take_reply(), wait, e.now);
        } else {
          e.waiting.push_back(m.take_reply());
        }
        break;
      default:
        break;
    }
  }

 private:
  struct entry {
    state now;
    std::vector<mach::reply_right> waiting;
  };

  // A client that has died needs no answer.
  static void tell(mach::reply_right to, mach_msg_id_t request, const state& s) {
    mach::reply(std::move(to), mach::message(reply_to(request), s.version, s.value));
  }

  std::map<std::string, entry, std::less<>> entries_;
  const bool is_hasty_;
};

kedge::task<> serve(mach::receive_right requests, bool is_hasty) {
  store kept(is_hasty);
  for (;;) kept.answer((co_await requests.receive()).value());
}

// --- Clients -------------------------------------------------------------------------------------

// Gives nullopt if the service has died.
kedge::task<std::optional<state>> ask(mach::send_right service, mach_msg_id_t what,
                                      std::uint64_t number) {
  auto answer = co_await mach::call(service, mach::message(what, mach::counted("count"), number));
  if (!answer) co_return std::nullopt;
  auto in = answer->reader();
  const auto version = in.read<std::uint64_t>();
  const auto value = in.read<std::uint64_t>();
  if (!version || !value) co_return std::nullopt;
  co_return state{*version, *value};
}

kedge::task<int> count_up(mach::send_right service, std::uint64_t times) {
  for (std::uint64_t i = 1; i <= times; ++i) {
    const std::optional<state> now = co_await ask(service, put, i);
    if (!now) co_return 2;
  }
  co_return 0;
}

kedge::task<int> follow(mach::send_right service, std::uint64_t last) {
  std::optional<state> now = co_await ask(service, get, 0);
  while (now && now->value < last) now = co_await ask(service, wait, now->version);
  co_return now ? 0 : 2;
}

mach::send_right look_up() {
  mach_port_t service = MACH_PORT_NULL;
  bootstrap_look_up(bootstrap_port, service_name, &service);
  return mach::send_right::adopt(service);
}

std::uint64_t number_in(int argc, char** argv) {
  return argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  mach_port_t requests = MACH_PORT_NULL;
  if (bootstrap_check_in(bootstrap_port, service_name, &requests) != KERN_SUCCESS) return 1;
  const bool is_hasty = argc > 1 && std::string_view(argv[1]) == "--hasty";
  kedge::loop loop;
  loop.run(serve(mach::receive_right::adopt(requests), is_hasty));
  return 0;
}

int counter_main(int argc, char** argv) {
  kedge::loop loop;
  return loop.run(count_up(look_up(), number_in(argc, argv)));
}

int reader_main(int argc, char** argv) {
  kedge::loop loop;
  return loop.run(follow(look_up(), number_in(argc, argv)));
}

}  // namespace key_value
