// Counts allocations: in the steady state a small message or a call between two coroutines of one
// loop makes none. Defines operator new, so it must be a test binary of its own.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/died.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

// Sanitizers define operator new themselves. Under them nothing is counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEDGE_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEDGE_SANITIZED
#endif
#endif

namespace {

thread_local std::size_t allocations = 0;

}  // namespace

#ifndef KEDGE_SANITIZED
void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size != 0 ? size : 1);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

#endif

namespace kedge::mach {
namespace {

// The first `warm_up` rounds fill the caches. The next `rounds` are counted.
constexpr std::uint32_t warm_up = 10000, rounds = 2000;

}  // namespace

TEST_CASE("2,000 messages through a queue that is sometimes full allocate nothing") {
  loop l;
  const receive_right port = receive_right::make();
  l.spawn([&]() -> task<> {
    const send_right to = port.make_send();
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      (co_await send(to, message(1, i, "some more words"))).value();
    }
  });
  std::size_t before = 0;
  l.run([&]() -> task<> {
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      if (i == warm_up) before = allocations;
      const received m = (co_await port.receive()).value();
      if (m.read<std::uint32_t>() != i) FAIL("out of order");
    }
  }());
  CHECK(allocations == before);
}

TEST_CASE("a loop receives the notifications of 200 deaths without an allocation") {
  loop l;
  std::size_t during = 1;
  // The first round fills the caches.
  for (int round = 0; round < 2; ++round) {
    std::vector<receive_right> ports(200);
    int deaths = 0;
    for (receive_right& port : ports) {
      port = receive_right::make();
      l.spawn([](send_right to, int& count) -> task<> {
        (co_await died(to)).value();
        ++count;
      }(port.make_send(), deaths));
    }
    while (l.poll()) {
    }
    for (receive_right& port : ports) port.destroy();
    const std::size_t before = allocations;
    while (l.poll()) {
    }
    during = allocations - before;
    CHECK(deaths == 200);
  }
  CHECK(during == 0);
}

TEST_CASE("2,000 calls allocate nothing") {
  loop l;
  const receive_right requests = receive_right::make();
  l.spawn([&]() -> task<> {
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      received request = (co_await requests.receive()).value();
      if (reply(request, message(2, i))) FAIL("no reply");
    }
  });
  const send_right service = requests.make_send();
  std::size_t before = 0;
  l.run([&]() -> task<> {
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      if (i == warm_up) before = allocations;
      const received reply = (co_await call(service, message(1, i))).value();
      if (reply.read<std::uint32_t>() != i) FAIL("the wrong reply");
    }
  }());
  CHECK(allocations == before);
}

namespace {

struct look_up {
  static constexpr mach_msg_id_t id = 1;
  text<1024> name;
  array<std::uint32_t, 64> numbers;
  send_right watcher;
  struct reply {
    text<1024> name;
    send_right found;
  };
};

}  // namespace

TEST_CASE("2,000 typed calls with texts, arrays and rights allocate nothing") {
  loop l;
  const receive_right requests = receive_right::make();
  l.spawn([&]() -> task<> {
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      received m = (co_await requests.receive()).value();
      auto request = decode<look_up>(m);
      if (!request || request->numbers.size() != 2) FAIL("the wrong request");
      if (reply(m, encode_reply<look_up>({request->name, std::move(request->watcher)}))) {
        FAIL("no reply");
      }
    }
  });
  const send_right service = requests.make_send();
  const std::array<std::uint32_t, 2> numbers{1, 2};
  std::size_t before = 0;
  l.run([&]() -> task<> {
    for (std::uint32_t i = 0; i < warm_up + rounds; ++i) {
      if (i == warm_up) before = allocations;
      const auto reply = co_await call<look_up>(service, "org.example", numbers, service);
      if (!reply || reply->name != "org.example" || !reply->found) FAIL("the wrong reply");
    }
  }());
  CHECK(allocations == before);
}

}  // namespace kedge::mach
