// run_daemon(): the signals, and what the service manager is told.
#include "kedge/net/daemon.h"

#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <system_error>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/error_line.h"
#include "kedge/runtime/interval.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::net {
namespace {

// The manager compares it with its own CLOCK_MONOTONIC, so it is not the loop's time.
std::string microseconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1'000);
}

constexpr const char* unknown_exception = "an exception of an unknown type";

std::string text_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return unknown_exception;
  }
}

// Ends the process as the signal does that has no handler.
void end_by(int number) noexcept {
  ::signal(number, SIG_DFL);
  ::kill(::getpid(), number);
}

}  // namespace

daemon::daemon(loop& l, std::string_view name, daemon_options options)
    : loop_(l),
      name_(name),
      options_(options),
      given_(activation::from_environment()),
      manager_(notifier::from_environment(l)),
      stop_(l, {SIGTERM, SIGINT}),
      hangup_(l, {SIGHUP}) {}

template <class Listener>
Listener& daemon::closed_at_stop(Listener& made) {
  listeners_.emplace_back(made.state_);
  if (is_stopping()) made.close();
  return made;
}

tcp_listener daemon::listen_tcp(std::string_view name, const address& otherwise,
                                tcp_listen_options options) {
  tcp_listener made = given_.listen_tcp(loop_, name, otherwise, options);
  return std::move(closed_at_stop(made));
}

unix_listener daemon::listen_unix(std::string_view name, const address& otherwise,
                                  unix_listen_options options) {
  unix_listener made = given_.listen_unix(loop_, name, otherwise, options);
  return std::move(closed_at_stop(made));
}

// A manager that has gone is no reason to end. One line says so.
task<> daemon::notify(std::string assignments) {
  const result<void> sent = co_await manager_.send(std::move(assignments));
  if (sent || std::exchange(notification_failed_, true)) co_return;
  print_error_line("%s: the service manager cannot be notified: %s\n", name_.c_str(),
                   sent.error().message().c_str());
}

task<> daemon::notify_stopping() {
  if (is_stopping_notified_) co_return;
  co_await notify("STOPPING=1");
  is_stopping_notified_ = true;
}

task<> daemon::status(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');  // a line is an assignment
  return notify("STATUS=" + text);
}

task<> daemon::feed_watchdog(clock::duration period) {
  interval ticks(loop_, period);
  for (;;) {
    co_await notify("WATCHDOG=1");
    (void)co_await ticks.next();
  }
}

void daemon::stop() noexcept {
  for (const auto& each : listeners_) {
    if (const auto listener = each.lock()) listener->close();
  }
  stopping_.set();
  for (const auto& tell : told_at_stop_) tell();
}

void daemon::on_stop(std::function<void()> tell) {
  if (is_stopping()) return tell();
  told_at_stop_.push_back(std::move(tell));
}

task<> daemon::until_stopping() {
  (void)co_await stopping_.wait();
}

task<> daemon::obey(scope& all) {
  const signal_event first = (co_await stop_.next()).value();
  if (first.count > 1) end_by(first.number);
  // From here on the system ends the process by the next signal, even if no task gets its turn.
  ::signal(SIGTERM, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  stop();
  if (is_ready_) {
    all.drain(options_.grace);
  } else {
    all.cancel();
  }
  co_await notify_stopping();
  end_by((co_await stop_.next()).value().number);  // it had come before signal()
}

task<> daemon::reload_on_signal(reloading reload) {
  while (!is_stopping() && co_await hangup_.next()) {
    if (is_stopping()) co_return;
    co_await notify("RELOADING=1\nMONOTONIC_USEC=" + microseconds_now());
    std::string failed;
    if (reload) {
      const attempted<void> end = co_await attempt(reload());
      if (end.failed()) failed = text_of(end.failure());
    }
    if (!failed.empty()) {
      print_error_line("%s: cannot reload: %s\n", name_.c_str(), failed.c_str());
      co_await status("cannot reload: " + failed);
    }
    if (!is_stopping()) co_await notify("READY=1");
  }
}

void daemon::note_end(std::error_code error, std::size_t stuck) {
  if (stuck != 0) {
    print_error_line("%s: connections or requests that were cut off: %zu\n", name_.c_str(), stuck);
  }
  if (error) throw std::system_error(error, "serve");
}

task<> daemon::run_until_end(task<> work, reloading reload) {
  const auto body = [&](scope& s) -> task<> {
    for (const std::string& each : given_.unclaimed()) {
      print_error_line("%s: closes the socket %s, which it does not use\n", name_.c_str(),
                       each.c_str());
    }
    given_ = activation();
    is_ready_ = true;
    co_await notify("READY=1");
    s.spawn(background([&] { return reload_on_signal(std::move(reload)); }));
    co_await std::move(work);
  };
  co_await with_scope(body);
}

task<> daemon::supervise(const std::function<task<>(daemon&)>& start) {
  bool has_ended = false;
  const auto body = [&](scope& s) -> task<> {
    s.spawn(background([&] { return obey(s); }));
    if (const auto period = manager_.watchdog_period()) {
      s.spawn(background([&] { return feed_watchdog(*period); }));
    }
    co_await start(*this);
    has_ended = true;
  };
  co_await with_scope(body);
  if (!has_ended && is_ready_) {
    const std::chrono::duration<double> grace = options_.grace;
    print_error_line("%s: the work had not ended %g s after the signal, and was cancelled\n",
                     name_.c_str(), grace.count());
  }
  // A manager without room for messages does not keep the program.
  (void)co_await with_timeout(std::chrono::seconds(1), notify_stopping());
}

int run_daemon(loop& l, std::string_view name, const std::function<task<>(daemon&)>& start,
               daemon_options options) {
  const auto fail = [name](int status, const char* what) {
    print_error_line("%.*s: %s\n", static_cast<int>(name.size()), name.data(), what);
    return status;
  };
  try {
    daemon d(l, name, options);
    l.run(d.supervise(start));
    return EXIT_SUCCESS;
  } catch (const environment_error& e) {
    return fail(EX_CONFIG, e.what());
  } catch (const std::exception& e) {
    return fail(EXIT_FAILURE, e.what());
  } catch (...) {
    return fail(EXIT_FAILURE, unknown_exception);
  }
}

}  // namespace kedge::net
