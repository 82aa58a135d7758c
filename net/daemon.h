// run_daemon(): runs a program as service managers expect it: systemd, launchd, or a shell.
//
//     kedge::task<> keep(net::daemon& d, const char* file) {
//       std::string text = read(file);                            // it starts
//       net::unix_listener clients = d.listen_unix("text", otherwise);
//       const auto reload = [&]() -> kedge::task<> { text = read(file); co_return; };
//       co_await d.run(net::serve(clients, answer), reload);      // it is ready
//     }
//     int main(int, char** argv) {
//       kedge::loop loop;
//       return net::run_daemon(loop, "keep", [&](net::daemon& d) { return keep(d, argv[1]); });
//     }
//
// | when                | what happens                                                            |
// | ------------------- | ----------------------------------------------------------------------- |
// | the start           | activated sockets are taken (activation.h); the watchdog is fed         |
// | d.run(work, reload) | READY=1. Sockets that were not asked for are closed, with a line each   |
// | SIGHUP              | RELOADING=1, reload() is awaited, READY=1. A failure of reload() is a   |
// |                     | line and a STATUS=, and the daemon goes on. Before d.run(): after it    |
// | SIGTERM, SIGINT     | STOPPING=1. The listeners that the daemon gave are closed, so serve()   |
// |                     | ends by itself, and until_stopping() ends. Work that is left after the  |
// |                     | grace is cancelled, with a line. Before d.run(): the start is cancelled |
// | a second one        | ends the process at once, by the signal, also if the loop is stuck      |
//
// The exit status is 0 if the work has ended or a signal has stopped it, 1 if it has failed, and 78
// (EX_CONFIG) if what the service manager has handed over is wrong, where starting again does not
// help: `RestartPreventExitStatus=78`. A failure is a line on stderr, with the name in front.
//
// What the daemon does elsewhere, such as answering requests at Mach ports, is told to end by
// on_stop(), or ends by until_stopping():
//
//     mach::serve_control control;
//     d.on_stop([&] { control.stop(); });
//     co_await d.run(mach::serve(port, {.peers = mach::same_user(), .control = &control}, count));
//
// Threads: the loop's thread only. run_daemon() changes the environment, and is called before there
// are threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/net/activation.h"
#include "kedge/net/listening_socket.h"
#include "kedge/net/notifier.h"
#include "kedge/net/serve.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

struct daemon_options {
  // How long the work may go on after SIGTERM. launchd kills after 20 s, systemd after 90 s.
  std::chrono::nanoseconds grace = std::chrono::seconds(15);
};

class daemon;

// Runs `start(d)` to its end, as above, and returns the exit status. `name` stands in front of each
// line on stderr. Throws nothing of `start`'s.
int run_daemon(loop& l, std::string_view name, const std::function<task<>(daemon&)>& start,
               daemon_options options = {});

class daemon {
 public:
  using reloading = std::function<task<>()>;

  daemon(const daemon&) = delete;
  daemon& operator=(const daemon&) = delete;

  // The activated sockets of this name; without one, a listener on `otherwise`, which may be no
  // address if there has to be one. See activation.h.
  tcp_listener listen_tcp(std::string_view name, const address& otherwise,
                          tcp_listen_options options = {});
  unix_listener listen_unix(std::string_view name, const address& otherwise,
                            unix_listen_options options = {});
  // The activated fds of this name, of any kind. The daemon does not close them.
  std::vector<owned_fd> take(std::string_view name) { return given_.take(name); }

  // Awaits `work`, and reload() for each SIGHUP: once for those that come during a reload. If
  // `work` is a serve() of net or of mach, or a when_all() of several, the report is looked at: how
  // much was cut off is a line, and its error is thrown. Throws what `work` throws. To be called
  // once. A cancellation loses what `work` declares.
  template <awaitable Work>
  task<> run(Work work, reloading reload = {}) {
    return run_until_end(without_value<Work>::of(*this, std::move(work)), std::move(reload));
  }

  // Calls `tell` when SIGTERM or SIGINT stops the daemon, or at once if it is stopping: on the
  // loop's thread, in the order of the calls of on_stop(). What it refers to must live as long as
  // the daemon runs. It must not throw. Throws std::bad_alloc.
  void on_stop(std::function<void()> tell);
  // `co_await d.until_stopping()` waits for SIGTERM or SIGINT. Any number of tasks may wait.
  task<> until_stopping();
  bool is_stopping() const noexcept { return stopping_.is_set(); }

  // Sets the line that `systemctl status` shows. Making the task throws std::bad_alloc.
  task<> status(std::string text);

 private:
  friend int run_daemon(loop&, std::string_view, const std::function<task<>(daemon&)>&,
                        daemon_options);

  // A class template: g++ 12 warns of coroutines that are function templates, if Work is in an
  // anonymous namespace.
  template <class Work>
  struct without_value {
    static task<> of(daemon& d, Work work) {
      const auto end = co_await std::move(work);
      d.note(end);
    }
  };
  template <class Work>
    requires std::is_void_v<awaited_t<Work>>
  struct without_value<Work> {
    static task<> of(daemon&, Work work) { co_await std::move(work); }
  };
  // A report says how much was cut off at the end of the grace, and why a server has ended by
  // itself.
  template <class Value>
  void note(const Value& of) {
    if constexpr (requires { std::error_code(of.error), std::size_t{of.stuck}; }) {
      note_end(of.error, of.stuck);
    }
  }
  template <class... Values>
  void note(const std::tuple<Values...>& all) {
    std::apply([&](const auto&... each) { (note(each), ...); }, all);
  }

  daemon(loop& l, std::string_view name, daemon_options options);
  task<> supervise(const std::function<task<>(daemon&)>& start);
  task<> run_until_end(task<> work, reloading reload);
  task<> obey(scope& all);
  task<> reload_on_signal(reloading reload);
  task<> feed_watchdog(clock::duration period);
  task<> notify(std::string assignments);
  task<> notify_stopping();
  template <class Listener>
  Listener& closed_at_stop(Listener& made);
  void note_end(std::error_code error, std::size_t stuck);
  void stop() noexcept;

  loop& loop_;
  std::string name_;
  daemon_options options_;
  activation given_;
  notifier manager_;
  signal_set stop_;
  signal_set hangup_;
  event stopping_;
  std::vector<std::function<void()>> told_at_stop_;
  std::vector<std::weak_ptr<listening_socket::state>> listeners_;
  bool is_ready_ = false;
  bool is_stopping_notified_ = false;
  bool notification_failed_ = false;
};

}  // namespace kedge::net
