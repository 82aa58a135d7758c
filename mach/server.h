// server: what serve() runs, whatever the handlers: it receives, admits, counts, drains and ends.
// serve_options, serve_counters, serve_report: what serve() takes and gives.
// serve_control: stops a serve() that runs, and reads its counters.
//
// For serve.h, which has the contract.
#pragma once

#include <mach/mach.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "kedge/mach/message.h"
#include "kedge/mach/peer_policy.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/task.h"

namespace kedge::mach {

class server;

struct serve_counters {
  std::uint64_t received = 0;     // messages, all that follow included
  std::uint64_t handled = 0;      // requests whose handlers have ended normally
  std::uint64_t failed = 0;       // requests whose handlers have thrown, or got no memory
  std::uint64_t timed_out = 0;    // requests that were not handled before their deadline
  std::uint64_t refused = 0;      // messages of peers that the policy does not admit
  std::uint64_t unknown = 0;      // messages with an id that no handler takes
  std::uint64_t malformed = 0;    // requests that are not what their id says
  std::uint64_t undelivered = 0;  // replies that could not be sent: the client has gone
  std::size_t running = 0;        // requests that are being handled now
  std::size_t connections = 0;    // open now
};

struct serve_report {
  serve_counters counters;
  std::size_t stuck = 0;  // requests that were cancelled after the grace
  std::string where;      // if any were: the loop's tasks then, as loop::dump() prints them
  std::error_code error;  // why serve() has ended, if nothing stopped it
  // The exit status of a program that only serves: 0 unless serve() has ended by an error.
  operator int() const noexcept { return error ? 1 : 0; }
};

// May be used before serve() begins and after it has ended. One serve() at a time.
// Threads: the loop's thread only.
class serve_control {
 public:
  serve_control() = default;
  serve_control(const serve_control&) = delete;
  serve_control& operator=(const serve_control&) = delete;

  // Lets serve() drain and end. A serve() that begins later ends at once, as if it had begun.
  void stop() noexcept;
  // Those of the serve() that runs, or of the last one.
  const serve_counters& counters() const noexcept { return counters_; }

 private:
  friend class server;
  server* running_ = nullptr;
  bool is_stopped_ = false;
  serve_counters counters_;
};

// Prints "kedge: request 5000 of process 4711: Broken pipe" to stderr, at most 512 bytes. Prints
// nothing where stderr has no room, or where its reader has gone.
void print_failed_request(mach_msg_id_t id, const audit_token_t& peer,
                          const std::exception_ptr& failure) noexcept;

struct serve_options {
  // How many requests are handled at a time whose handlers are tasks: at least 1.
  std::size_t concurrency = 16;
  // How long a handler that is a task may take.
  std::chrono::nanoseconds deadline = std::chrono::nanoseconds::max();
  peer_policy peers;
  // How long requests that have come may take after stop().
  std::chrono::nanoseconds grace = std::chrono::seconds(10);
  // How many connections are open at a time.
  std::size_t most_connections = 1000;
  serve_control* control = nullptr;
  // Called with what a handler has thrown.
  void (*on_failure)(mach_msg_id_t id, const audit_token_t& peer,
                     const std::exception_ptr& failure) noexcept = &print_failed_request;
};
// g++ 12 destroys temporary aggregates of a co_await expression twice.
static_assert(std::is_trivially_destructible_v<serve_options>);

// A port of one client, and what the server keeps for the client.
class connection_base {
 public:
  connection_base(const connection_base&) = delete;
  connection_base& operator=(const connection_base&) = delete;
  virtual ~connection_base() = default;

 protected:
  // Throws as receive_right::make().
  explicit connection_base(const void* kind) : kind_(kind) {}

 private:
  friend class server;
  friend class served_request;
  const void* const kind_;  // the address of a variable for each type of state
  receive_right port_ = receive_right::make();
  std::uint64_t tag_ = 0;    // in the port set of the server
  std::size_t running_ = 0;  // its requests that are being handled
  bool has_senders_ = true;  // a client, or a message, has a send right
};

template <class State>
class connection final : public connection_base {
 public:
  template <class... Args>
  explicit connection(Args&&... args)
      : connection_base(&kind), state(std::forward<Args>(args)...) {}
  static constexpr char kind = 0;
  State state;
};

// A message that a server has received and is handling. Counts as running while it exists.
class served_request {
 public:
  // `from` is the connection at which it has arrived, or null.
  served_request(server& of, received&& m, connection_base* from) noexcept;
  served_request(served_request&& other) noexcept
      : of_(std::exchange(other.of_, nullptr)),
        message_(std::move(other.message_)),
        from_(other.from_) {}
  served_request& operator=(served_request&&) = delete;
  ~served_request();

  // False if it was moved from.
  explicit operator bool() const noexcept { return of_ != nullptr; }
  received& message() noexcept { return message_; }
  server& of() const noexcept { return *of_; }
  // The state of the connection, or null if the request has not come by one with a State.
  template <class State>
  State* state() const noexcept {
    return from_ != nullptr && from_->kind_ == &connection<State>::kind
               ? &static_cast<connection<State>*>(from_)->state
               : nullptr;
  }

  // End the request: count how, and reply if the client expects it.
  void answer(kedge::mach::message&& reply) noexcept;  // handled
  void answer(kern_return_t code) noexcept;            // handled, with an error
  void end() noexcept;                                 // handled, and one-way
  void refuse(kern_return_t code) noexcept;            // not what a handler takes
  void refuse_peer() noexcept;
  void fail(const std::exception_ptr& failure) noexcept;
  void time_out() noexcept;

 private:
  void reply(kedge::mach::message&& m) noexcept;
  void reply_error(kern_return_t code) noexcept;

  server* of_;
  received message_;
  connection_base* from_;
};

// What a handler may ask about the client of its request.
class client {
 public:
  explicit client(served_request& of) noexcept : of_(of) {}
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  const audit_token_t& token() const noexcept { return of_.message().sender(); }

  // Opens a connection: makes State(args...) and a port, and gives the send right that the client
  // is to get. The connection, with the state, ends when no send right to the port is left, and the
  // requests that came by it have ended. Throws std::system_error (KERN_RESOURCE_SHORTAGE) if
  // serve_options::most_connections are open, what State's constructor throws, and what making a
  // port throws.
  template <class State, class... Args>
  send_right open(Args&&... args);

 private:
  served_request& of_;
};

class server {
 public:
  // The handlers, whatever their types.
  class dispatcher {
   public:
    // Handles the request, or spawns a task that does. Throws what that throws.
    virtual void dispatch(server& s, served_request&& r) = 0;

   protected:
    ~dispatcher() = default;
  };

  // One of `port` and `set` is null. `max_size` is the size of the largest request. Throws
  // std::system_error (EINVAL) for a concurrency of 0.
  server(const receive_right* port, port_set* set, const serve_options& options,
         std::size_t max_size, bool has_connections);
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  task<serve_report> run(dispatcher& handlers);

  const serve_options& options() const noexcept { return options_; }
  scope& requests() const noexcept { return *requests_; }
  // Throws std::system_error if the server takes no further connection. Requires that it was made
  // for some.
  void require_connection() const;
  send_right add(std::unique_ptr<connection_base> made);

 private:
  friend class serve_control;
  friend class served_request;
  class control_hold;
  class receiving_hold;

  task<> receive_all(dispatcher& handlers);
  task<> drain(dispatcher& handlers);
  task<> wait_for_room();
  static task<> watch(server& s, std::uint64_t tag);
  receive_awaitable receive() const noexcept;
  void take(received&& m, dispatcher& handlers) noexcept;
  void end_if_unused(const connection_base& c) noexcept;
  connection_base* connection_of(const received& m) noexcept;
  std::size_t queued() const noexcept;
  void note_stuck() noexcept;

  const receive_right* const port_;  // null if the server receives from a set
  port_set own_set_;                 // the port and the connections, if there can be some
  port_set* const set_;
  const serve_options options_;
  const std::size_t max_size_;
  serve_control own_control_;
  serve_control& control_;
  serve_counters& counters_;
  serve_report report_;
  scope* requests_ = nullptr;
  scope* receiving_ = nullptr;  // until stop()
  event idle_;
  std::uint64_t next_tag_ = std::uint64_t{1} << 63;
  std::unordered_map<std::uint64_t, std::unique_ptr<connection_base>> connections_;
};

template <class State, class... Args>
send_right client::open(Args&&... args) {
  of_.of().require_connection();
  return of_.of().add(std::make_unique<connection<State>>(std::forward<Args>(args)...));
}

}  // namespace kedge::mach
