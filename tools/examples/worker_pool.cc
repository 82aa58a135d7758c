// worker_pool: a fixed number of workers take jobs from one channel and put results into another.
//
//     printf '%s\n' '500 tea' '0 toast' '300 egg' | worker_pool 2
//
// A job is a line "milliseconds text". The worker waits so long, as for a reply over a network, and
// gives the text, which is printed. The input is read only as fast as the workers take jobs. At its
// end the channels are closed and drained, so that every job is printed. Ctrl-C unwinds all.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "kedge/runtime/channel.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_signals.h"

using lines = kedge::channel<std::string>;

kedge::task<> work(lines& jobs, lines& results) {
  while (const auto job = co_await jobs.receive()) {  // until closed and drained
    char* text = nullptr;
    co_await kedge::sleep_for(std::chrono::milliseconds(std::strtol(job->c_str(), &text, 10)));
    (co_await results.send(text + (*text == ' '))).value();
  }
}

kedge::task<> print(lines& results) {
  while (const auto result = co_await results.receive()) {
    std::puts(result->c_str());
    std::fflush(stdout);
  }
}

// Sends each line of the standard input.
kedge::task<> read_jobs(kedge::loop& loop, lines& jobs) {
  kedge::descriptor in(loop, STDIN_FILENO, kedge::ownership::borrowed);
  std::array<std::byte, 4096> buffer;
  std::string unfinished;
  while (const auto n = co_await in.read_some(buffer)) {
    unfinished.append(reinterpret_cast<const char*>(buffer.data()), *n);
    for (std::size_t end; (end = unfinished.find('\n')) != std::string::npos;) {
      (co_await jobs.send(unfinished.substr(0, end))).value();
      unfinished.erase(0, end + 1);
    }
  }
}

kedge::task<> run_pool(kedge::loop& loop, std::size_t workers) {
  lines jobs(workers);
  lines results(workers);
  const auto pool = [&](kedge::scope& s) -> kedge::task<> {
    for (std::size_t i = 0; i < workers; ++i) s.spawn(work, std::ref(jobs), std::ref(results));
    co_await read_jobs(loop, jobs);
    jobs.close();
  };
  const auto all = [&](kedge::scope& s) -> kedge::task<> {
    s.spawn(print, std::ref(results));
    co_await kedge::with_scope(pool);  // ends when the workers have done all jobs
    results.close();
  };
  co_await kedge::with_scope(all);
}

int main(int argc, char** argv) {
  kedge::loop loop;
  const std::size_t workers = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 4;
  return loop.run(
      kedge::with_signals({SIGINT, SIGTERM}, run_pool(loop, workers == 0 ? 1 : workers)));
}
