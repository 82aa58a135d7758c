// lock_service: grants the lock in the order of the requests. A client that dies gives it back, and
// loses its place in the queue.
#include "lock_service.h"

#include <servers/bootstrap.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <string_view>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/death_watch.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "lock_protocol.h"

using namespace std::chrono_literals;
namespace mach = kedge::mach;

namespace lock_service {
namespace {

struct client {
  mach::send_right life;
  mach::reply_right reply;
};

class lock {
 public:
  lock(kedge::loop& loop, bool is_forgetful) : deaths_(loop), is_forgetful_(is_forgetful) {}

  void request(client c) {
    if (!c.life) return;  // it has died meanwhile
    (void)deaths_.add(c.life, c.life.name());
    waiting_.push_back(std::move(c));
    grant();
  }

  void release(const mach::send_right& life) {
    if (!holder_ || life.name() != holder_.name()) return;
    end_hold();
    grant();
  }

  kedge::task<> watch_deaths() {
    for (;;) {
      const mach_port_name_t died = (co_await deaths_.next()).value();
      std::erase_if(waiting_, [&](const client& c) { return c.life.name() == died; });
      if (!holder_ || holder_.name() != died) continue;
      holder_ = {};
      if (!is_forgetful_) grant();
    }
  }

 private:
  void end_hold() {
    deaths_.remove(holder_);
    holder_ = {};
  }

  void grant() {
    while (!holder_ && !waiting_.empty()) {
      client next = std::move(waiting_.front());
      waiting_.pop_front();
      holder_ = std::move(next.life);
      if (mach::reply(std::move(next.reply), mach::message(lock_granted))) end_hold();
    }
  }

  mach::death_watch<mach_port_name_t> deaths_;
  std::deque<client> waiting_;
  mach::send_right holder_;
  const bool is_forgetful_;
};

kedge::task<> serve(mach::receive_right& requests, lock& shared) {
  for (;;) {
    mach::received m = (co_await requests.receive()).value();
    if (m.rights() != 1) continue;
    mach::send_right life = m.take_send(0);
    if (m.id() == lock_request) {
      shared.request({std::move(life), m.take_reply()});
    } else if (m.id() == lock_release) {
      shared.release(life);
    }
  }
}

kedge::task<> run_service(kedge::loop& loop, mach::receive_right requests, bool is_forgetful) {
  lock shared(loop, is_forgetful);
  auto body = [&](kedge::scope& s) -> kedge::task<> {
    s.spawn(shared.watch_deaths());
    co_await serve(requests, shared);
  };
  co_await kedge::with_scope(body);
}

kedge::task<int> use_lock(mach::send_right service, int times) {
  const mach::receive_right life = mach::receive_right::make();
  for (int i = 0; i < times; ++i) {
    const auto granted =
        co_await mach::call(service, mach::message(lock_request, life.make_send()));
    if (!granted) co_return 2;
    co_await kedge::sleep_for(100us);
    const auto sent = co_await mach::send(service, mach::message(lock_release, life.make_send()));
    if (!sent) co_return 3;
  }
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool is_forgetful = argc > 1 && std::string_view(argv[1]) == "--forgetful";
  mach_port_t requests = MACH_PORT_NULL;
  if (bootstrap_check_in(bootstrap_port, LOCK_SERVICE, &requests) != KERN_SUCCESS) return 1;
  kedge::loop loop;
  loop.run(run_service(loop, mach::receive_right::adopt(requests), is_forgetful));
  return 0;
}

int client_main(int argc, char** argv) {
  const int times = argc > 1 ? std::atoi(argv[1]) : 1;
  mach_port_t service = MACH_PORT_NULL;
  if (bootstrap_look_up(bootstrap_port, LOCK_SERVICE, &service) != KERN_SUCCESS) return 1;
  kedge::loop loop;
  return loop.run(use_lock(mach::send_right::adopt(service), times));
}

}  // namespace lock_service
