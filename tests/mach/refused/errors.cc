// Code of the Mach library that must not compile. The comment at the end of a line is a part of
// what the compiler must say about the line: tests/runtime/refused/refused.py compares them.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

struct with_pointer {
  const char* name;
};
struct nested {
  std::uint64_t number;
  with_pointer inside[2];
};
struct padded {
  char letter;
  std::uint32_t number;
};

void sends_what_means_nothing(mach::message& m, int* number) {
  m.append(with_pointer{"x"});           // "a part is a trivially copyable value"
  m.append(nested{});                    // clang: "a part is a trivially copyable value"
  m.append(padded{});                    // "a part is a trivially copyable value"
  m.append(number);                      // "a part is a trivially copyable value"
  m.append(nullptr);                     // "a part is a trivially copyable value"
  m.append(std::optional<int>(1));       // "a part is a trivially copyable value"
  mach::message(1, std::vector<int>());  // "Send other structs without pointers as raw(x)"
  mach::message(1, "text", padded{});    // "Send other structs without pointers as raw(x)"
  mach::message(1, mach::raw(number));   // "constraints"
}

void appends_what_it_keeps(mach::message& m, mach::send_once_right& once,
                           mach::receive_right& right, const mach::memory_region& memory,
                           std::vector<mach::send_right>& rights) {
  m.append(once);    // "or a right, an array of rights or memory that is moved in"
  m.append(right);   // "or a right, an array of rights or memory that is moved in"
  m.append(memory);  // "or a right, an array of rights or memory that is moved in"
  m.append(rights);  // "or a right, an array of rights or memory that is moved in"
}

void copies(const mach::receive_right& right, const mach::send_once_right& once,
            const mach::reply_right& reply, const mach::message& m, const mach::received& r,
            const mach::memory_region& memory, const mach::send_right& to) {
  mach::receive_right a = right;             // "deleted"
  mach::send_once_right b = once;            // "deleted"
  mach::reply_right c = reply;               // "deleted"
  mach::message d = m;                       // "deleted"
  mach::received e = r;                      // "deleted"
  mach::memory_region f = memory;            // "deleted"
  static_cast<void>(mach::try_send(to, m));  // "deleted"
  static_cast<void>(mach::reply(reply, d));  // "no matching function"
}

void reads_what_means_nothing(mach::received& request) {
  static_cast<void>(request.read<const char*>());       // "no matching"
  static_cast<void>(request.reader().read<int[4]>());   // "no matching"
  static_cast<void>(request.reader().span<padded>(2));  // "no matching"
  static_cast<void>(mach::received().descriptors());    // "deleted"
}

kedge::task<> waits_to_reply(mach::received request) {
  static_cast<void>(
      co_await mach::send(request.take_reply(), mach::message(1)));  // "a reply does not wait"
}

struct points {
  static constexpr mach_msg_id_t id = 1;
  const char* name;
};
struct points_deeper {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t number;
  with_pointer inside;
};
struct holds_string {
  static constexpr mach_msg_id_t id = 1;
  std::string name;
};
struct holds_vector {
  static constexpr mach_msg_id_t id = 1;
  std::vector<int> numbers;
};
struct has_padding {
  static constexpr mach_msg_id_t id = 1;
  padded inside;
};
struct has_c_array {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t numbers[3];
};
struct answers_by_pointer {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t number;
  struct reply {
    const char* name;
  };
};
struct has_reply {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t number;
  struct reply {};
};
struct has_no_id {
  std::uint32_t number;
};

void sends_what_no_message_carries(const mach::send_right& to, mach::received& m) {
  static_cast<void>(mach::send<points>(to, "x"));  // "a member of a request or a reply is"
  static_cast<void>(
      mach::send<points_deeper>(to, 1, with_pointer{}));  // "a member of a request or a reply is"
  static_cast<void>(mach::send<holds_string>(to, "x"));   // "a member of a request or a reply is"
  static_cast<void>(
      mach::send<has_padding>(to, padded{}));         // "a member of a request or a reply is"
  static_cast<void>(mach::send<has_c_array>(to, 1));  // "use std::array<T, N>"
  static_cast<void>(mach::decode<holds_vector>(m));   // "a member of a request or a reply is"
  static_cast<void>(
      mach::call<answers_by_pointer>(to, 1));  // "a member of a request or a reply is"
}

void calls_in_a_wrong_way(const mach::send_right& to) {
  static_cast<void>(
      mach::send<has_reply>(to, 1));             // "a request with a reply is not sent, but called"
  static_cast<void>(mach::call<has_reply>(to));  // "one argument for each of its members"
  static_cast<void>(mach::call<has_reply>(to, 1, 2));  // "one argument for each of its members"
  static_cast<void>(mach::send<has_no_id>(to, 1));     // "no matching function"
}

struct question {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t number;
  struct reply {
    std::uint32_t number;
  };
};
struct other {
  static constexpr mach_msg_id_t id = 1;
  std::uint32_t number;
  struct reply {};
};
question::reply answer(question& q) {
  return {q.number};
}

void serves(const mach::receive_right& port) {
  const auto policy = mach::anyone();
  const auto nothing = [](other&) {};
  const auto by_value = [](question q) { return answer(q); };
  const auto any = [](auto& q) { return answer(q); };
  const auto wrong = [](question& q) { return q.number; };
  static_cast<void>(mach::serve(port, {.concurrency = 4}, &answer));  // "serve() needs a policy"
  static_cast<void>(mach::serve(port, {.peers = policy}, &answer, nothing));  // "two handlers of"
  static_cast<void>(mach::serve(port, {.peers = policy}));            // "serve() needs a handler"
  static_cast<void>(mach::serve(port, {.peers = policy}, by_value));  // "a request by reference"
  static_cast<void>(mach::serve(port, {.peers = policy}, any));       // "a request by reference"
  static_cast<void>(mach::serve(port, {.peers = policy}, wrong));     // "gives the request's reply"
  static_cast<void>(
      mach::serve(mach::receive_right::make(), {.peers = policy}, &answer));  // "deleted"
}
