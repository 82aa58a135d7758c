// What waits take in the frame of a coroutine, and what a child takes in all. A larger number is a
// decision, not an accident: it is memory of every task of every program.
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <new>
#include <utility>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using kedge::task;
using namespace std::chrono_literals;

template <class A>
constexpr std::size_t waiting = sizeof(kedge::awaiting<kedge::operation_of<A>>);

using sleep = decltype(kedge::sleep_for(1s));
using read = decltype(std::declval<kedge::descriptor&>().read_some({}));
using write = decltype(std::declval<kedge::descriptor&>().write_some({}));
using readable = decltype(std::declval<kedge::descriptor&>().readable());
using signal = decltype(std::declval<kedge::signal_set&>().next());
using exit = decltype(std::declval<kedge::process&>().exited());
using lock = decltype(std::declval<kedge::mutex&>().lock());
using send_int = decltype(std::declval<kedge::channel<int>&>().send(1));
using receive_int = decltype(std::declval<kedge::channel<int>&>().receive());
using select_of_two = decltype(kedge::select(std::declval<receive_int>(), std::declval<sleep>()));
using timed_read = decltype(kedge::with_timeout(1s, std::declval<read>()));
using any_of_two = decltype(kedge::when_any(std::declval<sleep>(), std::declval<sleep>()));
using all_of_two = decltype(kedge::when_all(std::declval<sleep>(), std::declval<sleep>()));

TEST_CASE("a wait takes no more than this in the frame of its coroutine") {
  CHECK(waiting<kedge::yield> <= 64);
  CHECK(waiting<task<>> <= 64);
  CHECK(waiting<sleep> <= 104);
  CHECK(waiting<readable> <= 96);
  CHECK(waiting<read> <= 112);
  CHECK(waiting<write> <= 112);
  CHECK(waiting<signal> <= 104);
  CHECK(waiting<exit> <= 104);
  CHECK(waiting<lock> <= 104);
  CHECK(waiting<send_int> <= 104);
  CHECK(waiting<receive_int> <= 104);
  CHECK(waiting<select_of_two> <= 200);
  CHECK(waiting<timed_read> <= 240);
  CHECK(waiting<any_of_two> <= 320);
  CHECK(waiting<all_of_two> <= 320);
  CHECK(waiting<decltype(kedge::attempt(std::declval<task<>>()))> <= 224);
  CHECK(waiting<decltype(kedge::shield(std::declval<task<>>()))> <= 224);
  CHECK(sizeof(kedge::context) <= 80);
  CHECK(sizeof(kedge::branch<kedge::operation_of<task<>>>) <= 144);
  CHECK(sizeof(kedge::task_detail::promise<void>) <= 40);
  CHECK(sizeof(kedge::task_detail::promise<int>) <= 48);
}

class counting_resource final : public kedge::frame_resource {
 public:
  std::size_t bytes = 0;

 private:
  void* allocate(std::size_t size) override {
    bytes += size;
    return ::operator new(size);
  }
  void release(void* block, std::size_t size) noexcept override {
    bytes -= size;
    ::operator delete(block);
  }
};

task<> sleeper() {
  co_await kedge::sleep_for(1h);
}

// A compiler keeps temporaries in the frame, at -O0 more of them.
TEST_CASE("a sleeping child takes at most 384 bytes, and a compiler's temporaries") {
  counting_resource counted;
  kedge::frame_recycler::use(&counted);
  {
    kedge::loop l;
    l.spawn(sleeper());
    l.poll();
#if defined(__OPTIMIZE__)
    CHECK(counted.bytes <= 384);
#else
    CHECK(counted.bytes <= 512);
#endif
    CHECK(counted.bytes >= 200);
  }
  CHECK(counted.bytes == 0);
  kedge::frame_recycler::use(nullptr);
}

}  // namespace
