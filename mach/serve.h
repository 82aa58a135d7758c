// serve(): answers the typed requests that arrive at a port, by a handler for each type.
//
//     const auto count = [](count_letters& q) { return count_letters::reply{q.word.size()}; };
//     co_await mach::serve(port, {.concurrency = 16, .deadline = 5s, .peers = mach::same_user()},
//                          count);
//
// A handler takes a request (interface.h) by reference: handler(request&), or with more:
//
//     handler(request&, client&)               // asks about the client, opens connections
//     handler(request&, state&)                // a request that came by a connection with a state
//     handler(request&, state&, client&)
//
// It gives the reply, a result<reply, kern_return_t>, or a task of either; of a request that is
// one-way or whose reply has no members also nothing. The request, the state and the client are
// there until it has ended. The handlers live as long as serve().
//
// What a client gets instead of a reply is a MIG error: MIG_BAD_ID for an id that no handler takes,
// or that none takes on its port; the code of decode() for a request that is not what its id says;
// KERN_NO_ACCESS if the policy (peer_policy.h) does not admit the client, which is decided before
// anything is decoded; KERN_OPERATION_TIMED_OUT at the deadline; and, if the handler throws, the
// code of a std::system_error of the category mach.kern, KERN_RESOURCE_SHORTAGE for std::bad_alloc,
// else KERN_FAILURE. The exception is given to options.on_failure, and serve() goes on. A reply
// never waits: one that the client has no room for is dropped. So is one by a send right to a port
// of this task, which would let a client send requests as the server. What the kernel sends itself
// is dropped too: a client can make the kernel answer to any port.
//
// Handlers that are tasks run concurrently. When `concurrency` of them run, serve() leaves messages
// in the queue, which makes senders wait. At the deadline a handler is cancelled; one that is no
// task has no deadline, and blocks the loop.
//
// A client gets a connection, a port of its own with a state, from a handler:
//
//     [](open_sum&, mach::client& c) { return open_sum::reply{c.open<sum>(0)}; },
//     [](add& q, sum& s) { s.total += q.number; },
//
// When the client drops its last send right to it, or dies, the requests that it has sent are
// handled, and then the state is destroyed (client::open). Requests with handlers that take no
// state are answered on every port.
//
// serve() ends when options.control->stop() is called, or the port is destroyed (not one of
// several: a set, and what has connections, is stopped). It then handles the requests that are
// queued, leaves all that are being handled `grace` to end, cancels those that are left, and gives
// a report, with the loop's dump() of the time when the grace had passed. Later requests stay in
// the queue of the port, which is the caller's; those to connections are lost, and their clients
// get errc::no_reply. An error of receive() ends it in the same way, and is in the report. A lack
// of memory does not.
//
// Cancellation loses the requests that are being handled; their clients get errc::no_reply. Throws
// what receive() throws, std::system_error (EINVAL) for a concurrency of 0, and std::bad_alloc
// before it has begun. The port is borrowed: it must live until serve() has ended.
// Threads: the loop's thread only.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/mach/interface.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/server.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::mach {
namespace serve_detail {

// The result and the arguments of a callable. The primary template is for what has none, or many.
template <class F>
struct call_of {
  static constexpr bool known = false;
};
template <class R, class... A>
struct call_of<R (*)(A...)> {
  static constexpr bool known = true;
  using result = R;
  using arguments = type_list<A...>;
};
template <class R, class... A>
struct call_of<R (*)(A...) noexcept> : call_of<R (*)(A...)> {};
template <class F, class R, class... A>
struct call_of<R (F::*)(A...)> : call_of<R (*)(A...)> {};
template <class F, class R, class... A>
struct call_of<R (F::*)(A...) const> : call_of<R (*)(A...)> {};
template <class F, class R, class... A>
struct call_of<R (F::*)(A...) noexcept> : call_of<R (*)(A...)> {};
template <class F, class R, class... A>
struct call_of<R (F::*)(A...) const noexcept> : call_of<R (*)(A...)> {};
template <class F>
  requires requires { &F::operator(); }
struct call_of<F> : call_of<decltype(&F::operator())> {};

struct no_state {};

// What a handler takes.
template <class Arguments>
struct arguments_of {
  static constexpr bool known = false;
};
template <class T, class State, bool TakesClient>
struct arguments_are {
  static constexpr bool known = request<T>;
  static constexpr bool takes_client = TakesClient;
  using request_type = T;
  using state = State;
};
template <class T>
struct arguments_of<type_list<T&>> : arguments_are<T, no_state, false> {};
template <class T>
struct arguments_of<type_list<T&, client&>> : arguments_are<T, no_state, true> {};
template <class T, class State>
struct arguments_of<type_list<T&, State&>> : arguments_are<T, State, false> {};
template <class T, class State>
struct arguments_of<type_list<T&, State&, client&>> : arguments_are<T, State, true> {};

// The reply of a request. A one-way request has one without members, which is not sent.
struct no_reply {};
template <class T>
struct reply_of {
  using type = no_reply;
};
template <request_with_reply T>
struct reply_of<T> {
  using type = typename T::reply;
};

// What a handler gives, without the task around it.
template <class R>
struct value_of {
  using type = R;
};
template <class R>
  requires awaitable<R>
struct value_of<R> {
  using type = awaited_t<R>;
};

template <class Value, class Reply>
constexpr bool is_answer =
    std::is_same_v<Value, Reply> || std::is_same_v<Value, kedge::result<Reply, kern_return_t>> ||
    (std::is_empty_v<Reply> &&
     (std::is_void_v<Value> || std::is_same_v<Value, kedge::result<void, kern_return_t>>));

template <class Handler>
constexpr bool takes_request() {
  using call = call_of<Handler>;
  if constexpr (call::known) {
    return arguments_of<typename call::arguments>::known;
  } else {
    return false;
  }
}

template <class Handler>
struct handler_traits : arguments_of<typename call_of<Handler>::arguments> {
  using base = arguments_of<typename call_of<Handler>::arguments>;
  using request_type = std::remove_const_t<typename base::request_type>;
  using reply = typename reply_of<request_type>::type;
  using given = typename call_of<Handler>::result;
  using value = typename value_of<given>::type;
  static constexpr bool is_task = awaitable<given>;
  static constexpr bool has_state = !std::is_same_v<typename base::state, no_state>;
};

template <class Handler>
constexpr bool check_handler() {
  static_assert(takes_request<Handler>(),
                "kedge: a handler of serve() takes a request by reference, and then, if it wants, "
                "the state of a connection and a mach::client&, both by reference: "
                "[](count_letters& q) { ... }");
  if constexpr (takes_request<Handler>()) {
    using traits = handler_traits<Handler>;
    constexpr bool gives_answer = is_answer<typename traits::value, typename traits::reply>;
    static_assert(gives_answer,
                  "kedge: a handler of serve() gives the request's reply, a result<reply, "
                  "kern_return_t> or a task of either");
    return gives_answer;
  }
  return false;
}

// Calls the handler with what it takes.
template <class Handler, class T>
decltype(auto) call_handler(Handler& handler, T& q, served_request& r, client& c) {
  using traits = handler_traits<Handler>;
  if constexpr (traits::has_state && traits::takes_client) {
    return std::invoke(handler, q, *r.state<typename traits::state>(), c);
  } else if constexpr (traits::has_state) {
    return std::invoke(handler, q, *r.state<typename traits::state>());
  } else if constexpr (traits::takes_client) {
    return std::invoke(handler, q, c);
  } else {
    return std::invoke(handler, q);
  }
}

// Ends the request by what its handler has given. Throws what encoding a reply throws.
template <class T>
void end_by(served_request& r, typename reply_of<T>::type&& reply) {
  if constexpr (request_with_reply<T>) {
    r.answer(encode_reply<T>(std::move(reply)));
  } else {
    r.end();
  }
}
template <class T>
void end_by_nothing(served_request& r) {
  typename reply_of<T>::type reply{};
  end_by<T>(r, std::move(reply));
}
template <class T, class V>
void end_by(served_request& r, kedge::result<V, kern_return_t>&& given) {
  if (!given) {
    r.answer(given.error());
  } else if constexpr (std::is_void_v<V>) {
    end_by_nothing<T>(r);
  } else {
    end_by<T>(r, std::move(*given));
  }
}

// Class templates: g++ 12 warns of coroutines that are function templates, if Handler is in an
// anonymous namespace.

template <class Handler>
struct run_request {
  using traits = handler_traits<Handler>;
  using T = typename traits::request_type;

  // Handles a request by a handler that is no task.
  static void at_once(served_request&& from, Handler& handler) {
    served_request r(std::move(from));
    try {
      auto q = decode<T>(r.message());
      if (!q) return r.refuse(q.error());
      client c(r);
      if constexpr (std::is_void_v<typename traits::value>) {
        call_handler(handler, *q, r, c);
        end_by_nothing<T>(r);
      } else {
        end_by<T>(r, call_handler(handler, *q, r, c));
      }
    } catch (...) {
      r.fail(std::current_exception());
    }
  }

  // The same by one that is a task.
  static task<> as_task(served_request r, Handler& handler) {
    std::exception_ptr failure;
    try {
      auto q = decode<T>(r.message());
      if (!q) {
        r.refuse(q.error());
        co_return;
      }
      const auto deadline = r.of().options().deadline;
      if (deadline == std::chrono::nanoseconds::max()) {
        co_await finish(r, handler, *q);
      } else {
        const auto ended = co_await with_timeout(deadline, finish(r, handler, *q));
        if (!ended) r.time_out();
      }
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure != nullptr) r.fail(failure);
  }

 private:
  static task<> finish(served_request& r, Handler& handler, T& q) {
    client c(r);
    if constexpr (std::is_void_v<typename traits::value>) {
      co_await call_handler(handler, q, r, c);
      end_by_nothing<T>(r);
    } else {
      typename traits::value given = co_await call_handler(handler, q, r, c);
      end_by<T>(r, std::move(given));
    }
  }
};

template <class... Handlers>
class handlers final : public server::dispatcher {
 public:
  template <class... H>
  explicit handlers(std::in_place_t, H&&... all) : all_(std::forward<H>(all)...) {}

  static constexpr bool has_connections =
      ((handler_traits<Handlers>::has_state || handler_traits<Handlers>::takes_client) || ...);
  static constexpr std::size_t max_size = std::max(
      {std::size_t{0}, layout_of<typename handler_traits<Handlers>::request_type>.max_size...});

  void dispatch(server& s, served_request&& r) override {
    const mach_msg_id_t id = r.message().id();
    bool is_known = false;
    std::apply(
        [&](Handlers&... each) { static_cast<void>((try_one(s, r, id, is_known, each) || ...)); },
        all_);
    if (!is_known) r.refuse(MIG_BAD_ID);
  }

 private:
  template <class Handler>
  static bool try_one(server& s, served_request& r, mach_msg_id_t id, bool& is_known,
                      Handler& handler) {
    using traits = handler_traits<Handler>;
    if (id != traits::request_type::id) return false;
    if constexpr (traits::has_state) {
      if (r.state<typename traits::state>() == nullptr) return true;  // not on this port
    }
    is_known = true;
    if constexpr (traits::is_task) {
      s.requests().spawn(run_request<Handler>::as_task(std::move(r), handler));
    } else {
      run_request<Handler>::at_once(std::move(r), handler);
    }
    return true;
  }

  std::tuple<Handlers...> all_;
};

template <class... Handlers>
constexpr bool has_two_of_one_id() {
  const std::array<mach_msg_id_t, sizeof...(Handlers)> ids{
      handler_traits<Handlers>::request_type::id...};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (ids[i] == ids[j]) return true;
    }
  }
  return false;
}

template <class... Handlers>
constexpr bool check_handlers() {
  static_assert(sizeof...(Handlers) > 0, "kedge: serve() needs a handler");
  constexpr bool are_known = (check_handler<Handlers>() && ...);
  if constexpr (are_known && sizeof...(Handlers) > 0) {
    static_assert(!has_two_of_one_id<Handlers...>(), "kedge: serve() has two handlers of one id");
    return !has_two_of_one_id<Handlers...>();
  }
  return false;
}

template <class... Handlers>
struct serve_all {
  static task<serve_report> run(const receive_right* port, port_set* set, serve_options options,
                                handlers<Handlers...> all) {
    server s(port, set, options, all.max_size, all.has_connections);
    co_return co_await s.run(all);
  }
};

template <class F>
constexpr bool check_closure() {
  KEDGE_CHECK_CLOSURE(F);
  return true;
}

template <class... H>
task<serve_report> begin(const receive_right* port, port_set* set, const serve_options& options,
                         H&&... all) {
  static_assert((check_closure<H>() && ...));
  if constexpr (check_handlers<std::decay_t<H>...>()) {
    return serve_all<std::decay_t<H>...>::run(
        port, set, options, handlers<std::decay_t<H>...>(std::in_place, std::forward<H>(all)...));
  } else {
    std::terminate();
  }
}

}  // namespace serve_detail

template <class... Handlers>
task<serve_report> serve(const receive_right& port, serve_options options, Handlers&&... handlers) {
  return serve_detail::begin(&port, nullptr, options, std::forward<Handlers>(handlers)...);
}
template <class... Handlers>
task<serve_report> serve(const receive_right&& port, serve_options options,
                         Handlers&&... handlers) = delete;  // the port is borrowed
// Answers what arrives at any member of the set. Connections are made its members.
template <class... Handlers>
task<serve_report> serve(port_set& set, serve_options options, Handlers&&... handlers) {
  return serve_detail::begin(nullptr, &set, options, std::forward<Handlers>(handlers)...);
}

}  // namespace kedge::mach
