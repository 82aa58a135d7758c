// Implements run_in_batches() by fork(), and a pipe from each child.
#include "kedge/tools/harness/seed_batches.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <system_error>
#include <vector>

#include "kedge/tools/harness/libc_call.h"
#include "kedge/tools/harness/sanitizers.h"

#if defined(KEDGE_HARNESS_ASAN) || defined(KEDGE_HARNESS_TSAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace kedge::harness {
namespace {

constexpr std::uint64_t most_in_batch = 256;
constexpr unsigned seconds_of_a_report = 20;
constexpr std::size_t signal_stack_size = std::size_t{256} << 10;

// What a child writes: a tag, the length of the text, the text.
enum class tag : char {
  seed = 'S',     // it begins with this one
  failure = 'F',  // of that seed
  claim = 'C',
  end = 'E',  // it has run all its seeds, or has failed
};

void write_all(int fd, const void* from, std::size_t size) noexcept {
  const auto* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t done = ::write(fd, at, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) ::_exit(1);  // the parent has gone
    at += done;
    size -= static_cast<std::size_t>(done);
  }
}

void tell(int fd, tag what, const std::string& text) {
  const std::size_t size = text.size();
  std::string record(1, static_cast<char>(what));
  record.append(reinterpret_cast<const char*>(&size), sizeof size);
  record += text;
  write_all(fd, record.data(), record.size());
}

// --- In a child ----------------------------------------------------------------------------------

// For the handler of its signals.
struct child_state {
  int fd = -1;
  std::uint64_t seed = 0;
  unsigned seconds = 0;
  const std::function<std::string(const std::string&, std::uint64_t)>* describe_crash = nullptr;
};
child_state child_now;

std::string name_of_signal(int number) {
  if (number == SIGALRM) {
    return "HANG: no end of this seed within " + std::to_string(child_now.seconds) + " s";
  }
  return "CRASH: signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
}

// Reports as much as the process is still able to.
void report_crash(const std::string& what) {
  is_reporting_crash = true;
  ::signal(SIGALRM, SIG_DFL);
  ::alarm(seconds_of_a_report);
  tell(child_now.fd, tag::failure, (*child_now.describe_crash)(what, child_now.seed));
  tell(child_now.fd, tag::end, {});
}

void on_signal(int number) {
  ::signal(number, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  sigprocmask(SIG_UNBLOCK, &one, nullptr);  // a second one ends the report
  std::cout.flush();
  report_crash(name_of_signal(number));
  ::_exit(1);
}

void handle_signals() {
  static std::unique_ptr<char[]> memory;
  memory = std::make_unique<char[]>(signal_stack_size);
  stack_t stack{};
  stack.ss_sp = memory.get();
  stack.ss_size = signal_stack_size;
  ::sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
#if defined(KEDGE_HARNESS_ASAN) || defined(KEDGE_HARNESS_TSAN)
  // The sanitizer reports the other ones, and ends the process.
  __sanitizer_set_death_callback([] { report_crash("CRASH: ended by the sanitizer"); });
  for (const int each : {SIGALRM, SIGABRT}) ::sigaction(each, &action, nullptr);
#else
  for (const int each : {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) {
    ::sigaction(each, &action, nullptr);
  }
#endif
}

void end_child() {
  std::cout.flush();
  std::cerr.flush();
  std::fflush(nullptr);
  ::_exit(0);
}

// --- In the parent -------------------------------------------------------------------------------

struct child {
  pid_t pid = -1;
  int fd = -1;
  seed_range seeds;
  std::string unread;
  std::uint64_t seed = 0;  // that it runs
  std::optional<std::string> failure;
  bool has_ended = false;
};

void read_claim(const std::string& text, claims& all) {
  const std::size_t end = text.find('\0');
  claim& each = all[text.substr(0, end)];
  each.is_true |= text[end + 1] == '1';
  each.place = text.substr(end + 2);
}

void read_records(child& c, claims& asked) {
  std::size_t at = 0;
  std::size_t size = 0;
  while (c.unread.size() - at > sizeof size) {
    std::memcpy(&size, c.unread.data() + at + 1, sizeof size);
    if (c.unread.size() - at - 1 - sizeof size < size) break;
    const auto what = static_cast<tag>(c.unread[at]);
    const std::string text = c.unread.substr(at + 1 + sizeof size, size);
    at += 1 + sizeof size + size;
    switch (what) {
      case tag::seed:
        c.seed = std::stoull(text);
        break;
      case tag::failure:
        c.failure = text;
        break;
      case tag::claim:
        read_claim(text, asked);
        break;
      case tag::end:
        c.has_ended = true;
        break;
    }
  }
  c.unread.erase(0, at);
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    return "CRASH: signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
  }
  return "CRASH: the machine's process has ended with status " +
         std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::optional<std::string> run_in_batches(
    const seed_range& seeds, const batch_options& options, claims& asked,
    const std::function<std::optional<std::string>(std::uint64_t)>& run,
    const std::function<std::string(const std::string&, std::uint64_t)>& describe_crash) {
  const std::uint64_t batch =
      std::clamp<std::uint64_t>(seeds.size() / (options.jobs * 4u), 1, most_in_batch);
  std::vector<child> children;
  std::uint64_t next = seeds.first;
  std::uint64_t passed = 0;
  std::uint64_t last = seeds.last;  // the seeds behind a failure do not matter
  bool are_all_begun = seeds.size() == 0;
  std::optional<std::string> failed;

  const auto start = [&](const seed_range& some) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::system_category(), "a batch's pipe");
    std::cout.flush();
    std::cerr.flush();
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) {
      const int error = errno;
      ::close(ends[0]);
      ::close(ends[1]);
      throw std::system_error(error, std::system_category(), "a batch's process");
    }
    if (pid != 0) {
      ::close(ends[1]);
      child& started = children.emplace_back();
      started.pid = pid;
      started.fd = ends[0];
      started.seeds = some;
      started.seed = some.first;
      return;
    }
    ::close(ends[0]);
    child_now = {ends[1], some.first, options.seconds, &describe_crash};
    handle_signals();
    for (std::uint64_t seed = some.first;; ++seed) {
      child_now.seed = seed;
      tell(ends[1], tag::seed, std::to_string(seed));
      ::alarm(options.seconds);
      const std::optional<std::string> failure = run(seed);
      ::alarm(0);
      if (failure) tell(ends[1], tag::failure, *failure);
      if (failure || seed == some.last) break;
    }
    for (const auto& [what, each] : asked) {
      tell(ends[1], tag::claim, what + '\0' + (each.is_true ? '1' : '0') + each.place);
    }
    tell(ends[1], tag::end, {});
    end_child();
  };
  const auto end = [&](child& c) {
    ::close(c.fd);
    int status = 0;
    while (::waitpid(c.pid, &status, 0) < 0 && errno == EINTR) continue;
    if (!c.failure && !c.has_ended) c.failure = describe_crash(how_it_ended(status), c.seed);
    if (c.failure && c.seed <= last) {
      last = c.seed;
      failed = std::move(c.failure);
    }
    passed += c.seeds.size();
  };
  const auto show = [&](bool is_last) {
    if (!options.shows_progress) return;
    if (is_last) {
      std::fprintf(stderr, "\r%40s\r", "");
    } else {
      std::fprintf(stderr, "\rharness: %llu of %llu seeds", static_cast<unsigned long long>(passed),
                   static_cast<unsigned long long>(seeds.size()));
    }
  };

  while (!children.empty() || !are_all_begun) {
    while (!are_all_begun && children.size() < options.jobs) {
      if (next > last) {
        are_all_begun = true;
        break;
      }
      const std::uint64_t to = seeds.last - next < batch ? seeds.last : next + batch - 1;
      start({next, to});
      are_all_begun = to == seeds.last;
      next = to + 1;
    }
    std::vector<pollfd> waits;
    for (const child& each : children) waits.push_back({each.fd, POLLIN, 0});
    if (waits.empty() || ::poll(waits.data(), static_cast<nfds_t>(waits.size()), -1) < 0) continue;
    for (std::size_t i = waits.size(); i-- > 0;) {
      if (waits[i].revents == 0) continue;
      char text[65536];
      const ssize_t size = ::read(children[i].fd, text, sizeof text);
      if (size < 0 && errno == EINTR) continue;
      if (size > 0) {
        children[i].unread.append(text, static_cast<std::size_t>(size));
        read_records(children[i], asked);
        continue;
      }
      end(children[i]);
      children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
      show(false);
    }
    for (const child& each : children) {
      if (each.seeds.first > last) ::kill(each.pid, SIGKILL);
    }
  }
  show(true);
  return failed;
}

}  // namespace kedge::harness
