// supervisor: starts a worker again whenever it dies, until each has died three times.
//
// One death_watch waits for all workers. A worker is known by the tag that it was added with.
#include <cstdio>
#include <map>
#include <utility>

#include "kedge/mach/death_watch.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

// A worker does one job. Its port dies with its receive right, and is all that the others know.
kedge::task<> work(mach::receive_right jobs) {
  (void)(co_await jobs.receive()).value();
}

kedge::task<> supervise(kedge::loop& loop) {
  mach::death_watch<int> deaths(loop);
  std::map<int, mach::send_right> workers;
  const auto start = [&](int number) {
    auto jobs = mach::receive_right::make();
    workers[number] = jobs.make_send();
    loop.spawn(work(std::move(jobs)));
    return deaths.add(workers[number], number) &&
           mach::try_send(workers[number], mach::message(0, "a job"));
  };
  std::map<int, int> deaths_of;
  for (const int number : {1, 2}) start(number);
  while (!workers.empty()) {
    const int number = (co_await deaths.next()).value();
    std::printf("worker %d has died\n", number);
    workers.erase(number);
    if (++deaths_of[number] < 3 && !start(number)) std::puts("a worker did not start");
  }
}

int main() {
  kedge::loop loop;
  loop.run(supervise(loop));
}
