// demo: counts words with workers that are Mach services, of which some are killed. options.cc has
// the usage.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <deque>
#include <exception>
#include <system_error>

#include "dispatcher.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kill_plan.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "worker.h"

namespace {

// The number of batches to expect of an input of unknown length.
constexpr std::uint64_t expected_batches = 32;

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

struct input {
  kedge::descriptor file;
  std::uint64_t size;  // 0: unknown
};

input open_input(kedge::loop& loop, const std::string& name) {
  const bool standard = name.empty();
  const std::string shown = standard ? "standard input" : name;
  const int fd = standard ? STDIN_FILENO : ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (fd < 0 || ::fstat(fd, &status) != 0) fail(errno, shown);
  if (S_ISDIR(status.st_mode)) fail(EISDIR, shown);
  return {
      kedge::descriptor(loop, fd, standard ? kedge::ownership::borrowed : kedge::ownership::owned),
      S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0};
}

kedge::task<> count(kedge::loop& loop, const options& o, tally& t) {
  input in = open_input(loop, o.file);
  dispatcher d(t);
  std::deque<worker> workers;
  for (unsigned i = 0; i < o.workers; ++i) {
    d.add_worker(workers.emplace_back(d.make_answer_right()).make_send());
  }
  const std::uint64_t batches = in.size == 0 ? expected_batches : in.size / o.batch;
  kill_plan plan(workers, o.kill, batches, o.seed);
  co_await kedge::with_scope([&](kedge::scope& s) -> kedge::task<> {
    for (worker& w : workers) s.spawn(w.serve());
    if (::isatty(STDERR_FILENO) != 0) s.spawn(show_progress(stderr, t, in.size));
    co_await d.count(in.file, o.batch, plan);
    s.cancel();
  });
}

kedge::task<int> count_or_stop(kedge::loop& loop, const options& o) {
  kedge::signal_set stop(loop, {SIGINT, SIGTERM});
  tally t(o.workers);
  const auto [done, signal] = co_await kedge::when_any(count(loop, o, t), stop.next());
  print_report(stdout, t, done ? completeness::complete : completeness::partial);
  co_return done ? 0 : 128 + signal->value().number;
}

int run(const options& o) {
  kedge::loop loop;
  const int status = loop.run(count_or_stop(loop, o));
  if (std::fflush(stdout) != 0) fail(errno, "standard output");
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  const auto o = parse(argc, argv);
  if (!o) {
    std::fprintf(stderr, "demo: %s; see demo --help\n", o.error().c_str());
    return 2;
  }
  if (o->help) {
    std::fputs(help_text, stdout);
    return 0;
  }
  try {
    return run(*o);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "demo: %s\n", e.what());
    return 1;
  }
}
