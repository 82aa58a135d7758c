// activation, notifier and run_daemon(): the environments that service managers make, by hand, in
// child processes.
#include "kedge/net/daemon.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/connect.h"
#include "kedge/net/serve.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_cleanup.h"
#include "raw_listener.h"
#include "run_in.h"
#include "tests/runtime/in_child_process.h"
#include "tests/temporary_folder.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

const address loopback = address::parse("127.0.0.1:0").value();

// Ends a child process with a line unless `holds`. doctest's checks belong to the parent.
void require(bool holds, const char* what) {
  if (holds) return;
  ::dprintf(STDERR_FILENO, "not so: %s\n", what);
  std::_Exit(3);
}

// Makes the environment of systemd's sockets in a child process: `fds` become 3, 4 ...
void hand_over(std::vector<int> fds, const char* names) {
  for (int& each : fds) each = ::fcntl(each, F_DUPFD, 100);
  for (std::size_t i = 0; i < fds.size(); ++i) ::dup2(fds[i], static_cast<int>(3 + i));
  for (const int each : fds) ::close(each);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(fds.size()).c_str(), 1);
  if (names != nullptr) ::setenv("LISTEN_FDNAMES", names, 1);
}

// Returns the message of the error that `fn` throws in a child process.
std::string error_of_child(const std::function<void()>& fn) {
  const program_end end = in_child_process([&] {
    try {
      fn();
    } catch (const environment_error& e) {
      ::dprintf(STDERR_FILENO, "%s", e.what());
    }
  });
  CHECK(end.status == 0);
  return end.standard_error;
}

// Connects, and returns whether `listener` accepts the connection.
bool accepts(loop& l, const tcp_listener& listener, const address& at) {
  bool both = false;
  run_in(l, [&]() -> task<> {
    const auto [client, server] = co_await when_all(connect(at), listener.accept());
    both = client.has_value() && server.has_value();
  });
  return both;
}

TEST_CASE("activation gives sockets by name, and listens where none was handed over") {
  const temporary_folder folder("/tmp");
  const address path = address::unix_path(folder / "s").value();
  const raw_listener web(loopback, 5);
  const raw_listener other_web(loopback, 5);
  const raw_listener local(path, 5);
  const program_end end = in_child_process([&] {
    hand_over({web.native_handle(), local.native_handle(), other_web.native_handle()},
              "web:local:web");
    activation given = activation::from_environment();
    for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
      require(std::getenv(name) == nullptr, "the variables are gone");
    }
    for (const int fd : {3, 4, 5}) {
      require((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "the sockets are close-on-exec");
    }
    loop l;
    const tcp_listener all = given.listen_tcp(l, "web", address());
    require(all.addresses().size() == 2, "both sockets of a name are one listener");
    require(accepts(l, all, web.at()), "the first one accepts");
    require(accepts(l, all, other_web.at()), "the second one accepts");
    require(given.unclaimed() == std::vector<std::string>{"\"local\" (fd 4)"}, "one is left");
    unix_listener at_path = given.listen_unix(l, "local", address());
    at_path.close();
    require(::access((folder / "s").c_str(), F_OK) == 0, "the manager's file stays");
    const tcp_listener own = given.listen_tcp(l, "metrics", loopback);
    require(accepts(l, own, own.local_address()), "what was not handed over is bound");
    require(given.unclaimed().empty(), "none is left");
    require(activation::from_environment().unclaimed().empty(), "a second call finds nothing");
  });
  CHECK(end.standard_error.empty());
  CHECK(end.status == 0);
}

TEST_CASE("activation says in one sentence what is wrong with the environment") {
  struct row {
    const char* variable;
    const char* value;  // null: unset
    std::string error;
  };
  const raw_listener socket(loopback, 5);
  for (const row& r : {
           row{"LISTEN_FDS", "one", "LISTEN_FDS is \"one\", which is not a number"},
           row{"LISTEN_FDS", "-1", "LISTEN_FDS is \"-1\", which is not a number"},
           row{"LISTEN_FDS", "99999999999999999999",
               "LISTEN_FDS is \"99999999999999999999\", which is not a number"},
           row{"LISTEN_FDS", "2", "LISTEN_FDS is 2, but LISTEN_FDNAMES has 1 names"},
           row{"LISTEN_PID", "me", "LISTEN_PID is \"me\", which is not a number"},
           row{"LISTEN_PID", nullptr, "LISTEN_FDS is set, but LISTEN_PID is not"},
           row{"LISTEN_FDNAMES", "a:b", "LISTEN_FDS is 1, but LISTEN_FDNAMES has 2 names"},
       }) {
    CAPTURE(r.error);
    CHECK(error_of_child([&] {
            hand_over({socket.native_handle()}, "a");
            r.value != nullptr ? ::setenv(r.variable, r.value, 1) : ::unsetenv(r.variable);
            activation::from_environment();
          }) == r.error);
  }
  const std::string foreign = error_of_child([&] {
    hand_over({socket.native_handle()}, "a");
    ::setenv("LISTEN_PID", "1", 1);
    activation::from_environment();
  });
  CHECK(foreign.starts_with("LISTEN_PID is 1, but this process is "));
  CHECK(foreign.ends_with(": the sockets of LISTEN_FDS are for another process"));
}

TEST_CASE("activation takes only fds that were handed over, and listeners of the right kind") {
  const temporary_folder folder("/tmp");
  const raw_listener web(loopback, 5);
  const raw_listener local(address::unix_path(folder / "s").value(), 5);
  const owned_fd null(::open("/dev/null", O_RDONLY));
  const owned_fd unbound(::socket(AF_INET, SOCK_STREAM, 0));
  CHECK(error_of_child([&] {
          hand_over({web.native_handle()}, nullptr);
          ::setenv("LISTEN_FDS", "1000000", 1);
          ::close(4);
          activation::from_environment();
        }) == "LISTEN_FDS is 1000000, but fd 4 was not handed over");
  CHECK(error_of_child([&] {
          hand_over({web.native_handle()}, nullptr);
          ::setenv("LISTEN_FDS", "2", 1);
          const loop l;  // one of its fds may be 4
          ::dup2(null.get(), 4);
          ::fcntl(4, F_SETFD, FD_CLOEXEC);
          activation::from_environment();
        }) == "LISTEN_FDS is 2, but fd 4 was not handed over");

  struct row {
    std::vector<int> fds;
    const char* names;
    bool wants_unix;
    std::string error;
  };
  const int tcp = web.native_handle();
  const int path = local.native_handle();
  for (const row& r : {
           row{{null.get()}, "a", false, "the socket \"a\" is not a listening TCP socket"},
           row{{unbound.get()}, "a", false, "the socket \"a\" is not a listening TCP socket"},
           row{{path}, "a", false, "the socket \"a\" is not a listening TCP socket"},
           row{{tcp, path}, "a:a", false, "the socket \"a\" is not a listening TCP socket"},
           row{{tcp}, "a", true, "the socket \"a\" is not a listening Unix socket"},
           row{{path, path},
               "a:a",
               true,
               "2 sockets have the name \"a\", which is for one Unix socket"},
           row{{tcp},
               nullptr,
               true,
               "no socket \"a\" was handed over, and there is no address to listen on"},
       }) {
    CAPTURE(r.error);
    CHECK(error_of_child([&] {
            hand_over(r.fds, r.names);
            activation given = activation::from_environment();
            loop l;
            if (r.wants_unix) {
              given.listen_unix(l, "a", address());
            } else {
              given.listen_tcp(l, "a", address());
            }
          }) == r.error);
  }
}

// --- The service manager ------------------------------------------------------------------------

// Runs `fn` in a child process whose NOTIFY_SOCKET this receives, and its standard error.
class managed_process {
 public:
  explicit managed_process(const std::function<int()>& fn, bool is_abstract = false)
      : at_(address::unix_path(name(is_abstract)).value()),
        socket_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    REQUIRE(::bind(socket_.get(), at_.data(), at_.size()) == 0);
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    errors_ = owned_fd(ends[0]);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      for (const int end : ends) ::close(end);
      ::setenv("NOTIFY_SOCKET", name(is_abstract).c_str(), 1);
      std::_Exit(fn());
    }
    ::close(ends[1]);
  }
  managed_process(const managed_process&) = delete;
  managed_process& operator=(const managed_process&) = delete;
  ~managed_process() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    (void)finish();
  }

  // Gives the next message, or "ended" if the process has ended without one.
  std::string next() {
    for (;;) {
      std::array<pollfd, 2> both{{{socket_.get(), POLLIN, 0}, {errors_.get(), POLLIN, 0}}};
      REQUIRE(::poll(both.data(), both.size(), -1) > 0);
      if ((both[0].revents & POLLIN) != 0) {
        std::array<char, 1000> room;
        const ssize_t n = ::recv(socket_.get(), room.data(), room.size(), 0);
        REQUIRE(n >= 0);
        return {room.data(), static_cast<std::size_t>(n)};
      }
      if (!read_errors()) return "ended";
    }
  }
  void signal(int number) const { ::kill(pid_, number); }
  // Waits until standard error says `part`.
  void wait_for_error(const std::string& part) {
    while (text_.find(part) == std::string::npos && read_errors()) continue;
    CHECK(text_.find(part) != std::string::npos);
  }
  // Waits for the end. Gives the exit status, or 128 plus the signal.
  int finish() {
    if (pid_ <= 0) return status_;
    while (read_errors()) continue;
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, 0) == pid_);
    pid_ = -1;
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& errors() const noexcept { return text_; }

 private:
  std::string name(bool is_abstract) const {
    return is_abstract ? '@' + folder_.path() : folder_ / "notify";
  }
  bool read_errors() {
    std::array<char, 1000> room;
    const ssize_t n = ::read(errors_.get(), room.data(), room.size());
    if (n > 0) text_.append(room.data(), static_cast<std::size_t>(n));
    return n > 0;
  }

  temporary_folder folder_{"/tmp"};
  address at_;
  owned_fd socket_;
  owned_fd errors_;
  std::string text_;
  pid_t pid_ = -1;
  int status_ = -1;
};

TEST_CASE("notifier sends to a path and to an abstract name, in order, also with a full queue") {
  for (const bool is_abstract : {false, true}) {
    CAPTURE(is_abstract);
    managed_process p(
        [] {
          loop l;
          notifier manager = notifier::from_environment(l);
          require(std::getenv("NOTIFY_SOCKET") == nullptr, "the variable is gone");
          require(static_cast<bool>(manager), "a manager listens");
          run_in(l, [&]() -> task<> {
            std::vector<task<result<void>>> sends;
            for (int i = 0; i < 1000; ++i) sends.push_back(manager.send(std::to_string(i)));
            for (const auto& sent : co_await when_all(std::move(sends))) {
              require(sent.has_value(), "each is sent");
            }
          });
          return 0;
        },
        is_abstract);
    for (int i = 0; i < 1000; ++i) REQUIRE(p.next() == std::to_string(i));
    CHECK(p.finish() == 0);
    CHECK(p.errors().empty());
  }
}

TEST_CASE("notifier without a manager has no effect, and says what is wrong with the variables") {
  struct row {
    const char* variable;
    const char* value;
    std::string error;
  };
  for (const row& r : {
           row{"NOTIFY_SOCKET", "/nowhere/notify",
               "NOTIFY_SOCKET is \"/nowhere/notify\": No such file or directory"},
           row{"NOTIFY_SOCKET", "@kedge/nobody",
               "NOTIFY_SOCKET is \"@kedge/nobody\": Connection refused"},
           row{"NOTIFY_SOCKET", "vsock:2:1",
               "NOTIFY_SOCKET is \"vsock:2:1\": this is neither an absolute path nor an abstract "
               "name"},
           row{"WATCHDOG_USEC", "soon", "WATCHDOG_USEC is \"soon\", which is not a number"},
           row{"WATCHDOG_USEC", "0", "WATCHDOG_USEC is 0"},
       }) {
    CAPTURE(r.error);
    CHECK(error_of_child([&] {
            ::setenv(r.variable, r.value, 1);
            loop l;
            notifier::from_environment(l);
          }) == r.error);
  }
  CHECK(error_of_child([] {
          ::setenv("WATCHDOG_USEC", "1000", 1);
          ::setenv("WATCHDOG_PID", "1", 1);
          loop l;
          notifier none = notifier::from_environment(l);
          require(!none && !none.watchdog_period(), "the watchdog is another process's");
          require(l.run(none.send("READY=1")).has_value(), "a send has no effect");
        }).empty());
}

// --- The daemon ---------------------------------------------------------------------------------

task<> wait_until_stopped(daemon& d) {
  co_await d.run(d.until_stopping());
}

TEST_CASE("a daemon tells its manager that it is ready, reloads and stops") {
  managed_process p([] {
    loop l;
    int reloads = 0;
    const auto start = [&](daemon& d) -> task<> {
      const auto reload = [&]() -> task<> {
        if (++reloads == 2) throw std::runtime_error("line 3 is wrong");
        co_await d.status("reloaded\ntwice");
      };
      co_await d.run(d.until_stopping(), reload);
    };
    const int status = run_daemon(l, "test", start);
    return reloads == 2 ? status : 3;
  });
  CHECK(p.next() == "READY=1");
  p.signal(SIGHUP);
  const std::string reloading = p.next();
  CHECK(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="));
  CHECK(std::atoll(reloading.c_str() + reloading.rfind('=') + 1) > 0);
  CHECK(p.next() == "STATUS=reloaded twice");
  CHECK(p.next() == "READY=1");
  p.signal(SIGHUP);
  CHECK(p.next().starts_with("RELOADING=1\n"));
  CHECK(p.next() == "STATUS=cannot reload: line 3 is wrong");
  CHECK(p.next() == "READY=1");
  p.signal(SIGTERM);
  CHECK(p.next() == "STOPPING=1");
  CHECK(p.finish() == 0);
  CHECK(p.errors() == "test: cannot reload: line 3 is wrong\n");
}

TEST_CASE("a daemon drains on SIGTERM: it takes no new clients and answers those that it has") {
  const raw_listener socket(loopback, 5);
  managed_process p([&] {
    hand_over({socket.native_handle(), socket.native_handle()}, "web:spare");
    loop l;
    const auto start = [](daemon& d) -> task<> {
      const auto echo = [&](tcp_stream s) -> task<> {
        co_await d.status("has a client");
        std::array<std::byte, 1> room;
        while (co_await s.read_some(room)) (co_await write_all(s, room)).value();
      };
      tcp_listener clients = d.listen_tcp("web", address());
      co_await d.run(serve(clients, echo));
    };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "READY=1");
  const owned_fd client(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::connect(client.get(), socket.at().data(), socket.at().size()) == 0);
  CHECK(p.next() == "STATUS=has a client");
  p.signal(SIGTERM);
  CHECK(p.next() == "STOPPING=1");
  // The manager's socket still takes connections, which the daemon does not accept.
  const owned_fd late(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::connect(late.get(), socket.at().data(), socket.at().size()) == 0);
  char byte = 'x';
  REQUIRE(::send(client.get(), &byte, 1, 0) == 1);
  CHECK(::recv(client.get(), &byte, 1, 0) == 1);
  ::shutdown(client.get(), SHUT_WR);
  CHECK(p.finish() == 0);
  CHECK(p.errors() == "test: closes the socket \"spare\" (fd 4), which it does not use\n");
  socket.wait();  // the late one is the next activation's
}

TEST_CASE("a daemon cancels the work that is left after the grace, with a line and status 0") {
  managed_process p([] {
    loop l;
    const auto start = [](daemon& d) -> task<> { co_await d.run(forever()); };
    return run_daemon(l, "test", start, {.grace = 1ms});
  });
  CHECK(p.next() == "READY=1");
  p.signal(SIGINT);
  CHECK(p.next() == "STOPPING=1");
  CHECK(p.finish() == 0);
  CHECK(p.errors() == "test: the work had not ended 0.001 s after the signal, and was cancelled\n");
}

TEST_CASE("a daemon says how many connections its servers have cut off") {
  const raw_listener socket(loopback, 5);
  managed_process p([&] {
    hand_over({socket.native_handle()}, "web");
    loop l;
    const auto start = [](daemon& d) -> task<> {
      const auto stay = [&](tcp_stream) -> task<> {
        co_await d.status("has a client");
        co_await forever();
      };
      tcp_listener clients = d.listen_tcp("web", address());
      tcp_listener others = d.listen_tcp("others", loopback);
      const serve_options at_once{.grace = 0s};
      auto both = when_all(serve(clients, stay, at_once), serve(others, stay, at_once));
      co_await d.run(std::move(both));
    };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "READY=1");
  const owned_fd client(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::connect(client.get(), socket.at().data(), socket.at().size()) == 0);
  CHECK(p.next() == "STATUS=has a client");
  p.signal(SIGTERM);
  CHECK(p.next() == "STOPPING=1");
  CHECK(p.finish() == 0);
  CHECK(p.errors() == "test: connections or requests that were cut off: 1\n");
}

TEST_CASE("a daemon whose listener fails exits with 1 and a line") {
  managed_process p([] {
    loop l;
    const auto start = [](daemon& d) -> task<> {
      // What a listener gives whose socket the system has shut down.
      const auto serve_in_vain = []() -> task<serve_report> {
        serve_report all;
        all.error = std::make_error_code(std::errc::invalid_argument);
        co_return all;
      };
      co_await d.run(serve_in_vain());
    };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "READY=1");
  CHECK(p.finish() == 1);
  CHECK(p.errors() == "test: serve: Invalid argument\n");
}

TEST_CASE("SIGTERM ends a daemon that is still starting, at once and with status 0") {
  managed_process p([] {
    loop l;
    const auto start = [](daemon& d) -> task<> {
      co_await d.status("starting");
      co_await forever();
    };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "STATUS=starting");
  p.signal(SIGTERM);
  CHECK(p.next() == "STOPPING=1");
  CHECK(p.finish() == 0);
  CHECK(p.errors().empty());
}

// As mach::serve() gives it, which net does not know.
struct other_report {
  std::size_t stuck = 0;
  std::error_code error;
};

TEST_CASE("a daemon tells others to stop, and looks at any server's report") {
  for (const bool fails : {false, true}) {
    CAPTURE(fails);
    managed_process p([&] {
      loop l;
      const auto start = [&](daemon& d) -> task<> {
        event asked;
        int order = 0;
        d.on_stop([&] { order = 1; });
        d.on_stop([&] {
          if (order == 1) asked.set();
        });
        const auto work = [&]() -> task<other_report> {
          (void)co_await asked.wait();
          bool is_told_at_once = false;
          d.on_stop([&] { is_told_at_once = true; });
          other_report r;
          r.stuck = is_told_at_once ? 2 : 0;
          if (fails) r.error = std::make_error_code(std::errc::bad_file_descriptor);
          co_return r;
        };
        co_await d.run(work());
      };
      return run_daemon(l, "test", start);
    });
    CHECK(p.next() == "READY=1");
    p.signal(SIGTERM);
    CHECK(p.next() == "STOPPING=1");
    CHECK(p.finish() == (fails ? 1 : 0));
    const std::string said = p.errors();
    CHECK(said.starts_with("test: connections or requests that were cut off: 2\n"));
    CHECK((said.find("Bad file descriptor") != std::string::npos) == fails);
  }
}

TEST_CASE("a second signal ends a daemon at once, also if its loop is stuck") {
  for (const bool is_stuck : {false, true}) {
    CAPTURE(is_stuck);
    managed_process p([&] {
      loop l;
      const auto start = [&](daemon& d) -> task<> {
        const auto work = [&]() -> task<> {
          (void)co_await d.until_stopping();
          co_await d.status("drains");
          while (is_stuck) ::pause();
          co_await forever();
        };
        co_await d.run(work());
      };
      return run_daemon(l, "test", start);
    });
    CHECK(p.next() == "READY=1");
    p.signal(SIGTERM);
    std::string said = p.next();
    while (said != "STATUS=drains" && said != "ended") said = p.next();
    CHECK(said == "STATUS=drains");
    p.signal(SIGTERM);
    CHECK(p.finish() == 128 + SIGTERM);
  }
}

TEST_CASE("two signals at once end a daemon by one of them") {
  for (const int second : {SIGTERM, SIGINT}) {
    CAPTURE(second);
    managed_process p([&] {
      loop l;
      const auto start = [&](daemon& d) -> task<> {
        ::kill(::getpid(), SIGTERM);
        ::kill(::getpid(), second);
        const auto stays = [](const attempted<void>&) { return forever(); };
        co_await d.run(with_cleanup(forever(), stays, 1h));
      };
      return run_daemon(l, "test", start);
    });
    CHECK(p.finish() == 128 + second);
  }
}

TEST_CASE("a daemon exits with 1 and a line if it fails, and with 78 for a wrong environment") {
  managed_process fails([] {
    loop l;
    const auto start = [](daemon& d) -> task<> {
      const auto work = []() -> task<> {
        throw std::runtime_error("the disk is full");
        co_return;
      };
      co_await d.run(work());
    };
    return run_daemon(l, "test", start);
  });
  CHECK(fails.next() == "READY=1");
  CHECK(fails.finish() == 1);
  CHECK(fails.errors() == "test: the disk is full\n");

  managed_process refuses([] {
    ::setenv("LISTEN_FDS", "x", 1);
    loop l;
    return run_daemon(l, "test", &wait_until_stopped);
  });
  CHECK(refuses.next() == "ended");
  CHECK(refuses.finish() == 78);
  CHECK(refuses.errors() == "test: LISTEN_FDS is \"x\", which is not a number\n");
}

TEST_CASE("a daemon whose work ends by itself says that it stops, and exits with 0") {
  managed_process p([] {
    loop l;
    const auto start = [](daemon& d) -> task<> { co_await d.run(sleep_for(0s)); };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "READY=1");
  CHECK(p.next() == "STOPPING=1");
  CHECK(p.finish() == 0);
}

TEST_CASE("a daemon feeds the watchdog at half of its period") {
  managed_process p([] {
    ::setenv("WATCHDOG_USEC", "4000000", 1);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    virtual_time world;
    loop l(world);
    const auto start = [](daemon& d) -> task<> { co_await d.run(sleep_for(7s)); };
    return run_daemon(l, "test", start);
  });
  std::string all;
  for (std::string said = p.next(); said != "ended"; said = p.next()) all += said + "\n";
  CHECK(p.finish() == 0);
  CHECK(all == "READY=1\nWATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1\nSTOPPING=1\n");
}

TEST_CASE("a daemon goes on when its manager has gone, with one line") {
  managed_process p([] {
    const temporary_folder folder("/tmp");
    const std::string path = folder / "n";
    const address at = address::unix_path(path).value();
    owned_fd manager(::socket(AF_UNIX, SOCK_DGRAM, 0));
    require(::bind(manager.get(), at.data(), at.size()) == 0, "bind");
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
    loop l;
    const auto start = [&](daemon& d) -> task<> {
      manager = owned_fd();
      co_await d.run(sleep_for(0s));
    };
    return run_daemon(l, "test", start);
  });
  CHECK(p.next() == "ended");
  CHECK(p.finish() == 0);
  CHECK(p.errors() == "test: the service manager cannot be notified: Connection refused\n");
}

}  // namespace
}  // namespace kedge::net
