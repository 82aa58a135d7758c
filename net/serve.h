// serve(): runs a handler for each connection of a listener, within limits.
//
//     const auto echo = [](net::tcp_stream s) -> kedge::task<> { ... };
//     const net::serve_report all = co_await net::serve(listener, echo, {.grace = 5s});
//
// `handler(stream)` or `handler(stream, peer)` gives a task for each connection, where `peer` is
// the address of the other end. The stream is closed when the task has ended. A handler that fails
// ends its connection alone: `on_failure(peer, exception)` is called with it, and prints to stderr
// by default. At most `most_connections` are open; further ones wait in the listener's backlog.
// What accept() does without descriptors is in listening_socket.h.
//
// A TCP stream that is closed while bytes of its peer are unread is reset, and the peer may lose
// the end of an answer (RFC 1122, 4.2.2.13). A handler that answers before it has read everything
// calls shutdown_write(), and reads on to the end, by a limit and a deadline.
//
// serve() ends when the listener is closed, by another task:
//
//     co_await stop.next();      // a signal_set
//     listener.close();
//
// It then leaves the connections `grace` to end by themselves, cancels those that are left, waits
// for what they shield or clean up, and gives a report, with the loop's dump() of the time when the
// grace had passed. An error of the listener that accept() cannot deal with ends serve() in the
// same way, and is in the report.
//
// Where memory is short a connection is closed before its handler has begun, counts as failed, and
// serve() goes on after 100 ms. Without memory to wait for the grace, it cancels the connections at
// once.
//
// A cancellation ends all connections at once; they lose what their handlers declare. The listener
// is borrowed and not closed. Throws std::bad_alloc before it has begun, std::system_error (EINVAL)
// for a limit of no connections, and what on_failure throws. Each connection is
// a task with the peer's address as its name, or "connection 7" if the peer has none.
//
// Threads: the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/net/address.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/named.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace kedge::net {

struct serve_options {
  std::size_t most_connections = 1000;                        // at least 1
  std::chrono::nanoseconds grace = std::chrono::seconds(10);  // for connections that are left
};

struct serve_report {
  std::size_t served = 0;  // handlers that have ended normally
  std::size_t failed = 0;  // handlers that have thrown, and connections without memory for one
  std::size_t stuck = 0;   // handlers that were cancelled after the grace
  std::string where;       // if any were: the loop's tasks then, as loop::dump() prints them
  std::error_code error;   // why accept() has ended, if the listener was not closed
};

// Prints "kedge: connection of 127.0.0.1:5000: Broken pipe" to stderr, at most 512 bytes. Prints
// nothing where stderr has no room, or where its reader has gone.
void print_failure(const address& peer, const std::exception_ptr& failure) noexcept;

namespace serve_detail {

// What serve() and its connections share.
class server {
 public:
  // One open connection, from before its task begins.
  class connection {
   public:
    explicit connection(server& of) noexcept : of_(&of) { ++of_->open_; }
    connection(connection&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    connection& operator=(connection&&) = delete;
    ~connection() {
      if (of_ != nullptr && --of_->open_ == 0) of_->idle_.set();
    }

    serve_report& report() const noexcept { return of_->report; }

   private:
    server* of_;
  };

  // Waits until no connection is open, or for `grace`. Gives false then.
  task<bool> become_idle(std::chrono::nanoseconds grace);
  // Fills in the report of the connections that are still open, without the loop's tasks if memory
  // is short.
  void note_stuck() noexcept;
  std::string name_of(const address& peer);

  serve_report report;

 private:
  std::size_t open_ = 0;
  std::size_t named_ = 0;
  event idle_;
};

template <class Stream, class Handler>
constexpr bool takes_peer = std::is_invocable_v<Handler&, Stream, const address&>;

template <class Listener, class Handler, class OnFailure>
constexpr void check() {
  using stream = typename Listener::stream_type;
  constexpr bool takes_stream = std::is_invocable_v<Handler&, stream>;
  static_assert(takes_stream || takes_peer<stream, Handler>,
                "kedge: serve() calls handler(stream) or handler(stream, peer) with the listener's "
                "stream as an rvalue: take tcp_stream or unix_stream by value, or auto");
  if constexpr (takes_peer<stream, Handler>) {
    static_assert(awaitable<std::invoke_result_t<Handler&, stream, const address&>>,
                  "kedge: serve() takes a handler that gives a task");
  } else if constexpr (takes_stream) {
    static_assert(awaitable<std::invoke_result_t<Handler&, stream>>,
                  "kedge: serve() takes a handler that gives a task");
  }
  static_assert(std::is_invocable_v<OnFailure&, const address&, const std::exception_ptr&>,
                "kedge: serve() calls on_failure(const address&, const std::exception_ptr&)");
}

// Class templates: g++ 12 warns of coroutines that are function templates, if Handler is in an
// anonymous namespace.

// Runs the handler of one connection.
template <class Stream, class Handler, class OnFailure>
struct serve_one {
  static task<> run(server::connection counted, Handler& handler, OnFailure& on_failure, Stream s,
                    address peer) {
    std::exception_ptr failure;
    try {
      if constexpr (takes_peer<Stream, Handler>) {
        co_await std::invoke(handler, std::move(s), std::as_const(peer));
      } else {
        co_await std::invoke(handler, std::move(s));
      }
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure == nullptr) {
      ++counted.report().served;
    } else {
      ++counted.report().failed;
      std::invoke(on_failure, std::as_const(peer), std::as_const(failure));
    }
  }
};

template <class Listener, class Handler, class OnFailure>
struct serve_all {
  static task<serve_report> run(Listener& listener, Handler handler, serve_options options,
                                OnFailure on_failure) {
    using stream = typename Listener::stream_type;
    if (options.most_connections == 0) {
      throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                              "kedge::net::serve: most_connections is 0");
    }
    server all;
    const auto body = [&](scope& s) -> task<> {
      s.set_limit(options.most_connections);
      while (listener) {
        address peer;
        bool is_short = false;
        try {
          (void)co_await when_any(s.room(), listener.until_closed());
          auto accepted = co_await listener.accept(peer);
          if (!accepted) {
            if (accepted.error() != kedge::errc::closed) all.report.error = accepted.error();
            break;
          }
          // A task, and no callable with arguments: what is moved into the frame would stay with
          // the child too, for as long as the connection lives.
          task<> one = serve_one<stream, Handler, OnFailure>::run(
              server::connection(all), handler, on_failure, std::move(*accepted), peer);
          s.spawn(named(all.name_of(peer), std::move(one)));
        } catch (const std::bad_alloc&) {
          is_short = true;
        }
        if (!is_short) continue;
        if (peer) ++all.report.failed;  // it was taken, and is closed
        try {
          co_await sleep_for(std::chrono::milliseconds(100));
          is_short = false;
        } catch (const std::bad_alloc&) {
          // There is no memory for a timer either.
        }
        if (is_short) co_await yield();
      }
      bool is_idle = false;
      try {
        is_idle = co_await all.become_idle(options.grace);
      } catch (const std::bad_alloc&) {
        // Nor for the grace.
      }
      if (is_idle) co_return;
      all.note_stuck();
      s.cancel();
    };
    co_await with_scope(body);
    co_return std::move(all.report);
  }
};

}  // namespace serve_detail

template <class Listener, class Handler, class OnFailure = decltype(&print_failure)>
task<serve_report> serve(Listener& listener, Handler&& handler, serve_options options = {},
                         OnFailure&& on_failure = &print_failure) {
  KEDGE_CHECK_CLOSURE(Handler);
  KEDGE_CHECK_CLOSURE(OnFailure);
  serve_detail::check<Listener, std::decay_t<Handler>, std::decay_t<OnFailure>>();
  return serve_detail::serve_all<Listener, std::decay_t<Handler>, std::decay_t<OnFailure>>::run(
      listener, std::forward<Handler>(handler), options, std::forward<OnFailure>(on_failure));
}

}  // namespace kedge::net
