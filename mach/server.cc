// Implements server: two scopes, of which stop() cancels the inner one, where requests are
// received. The outer one has the requests whose handlers are tasks, and the watches of
// connections in the background.
#include "kedge/mach/server.h"

#include <mach/mig_errors.h>

#include <algorithm>
#include <new>
#include <sstream>

#include "kedge/mach/error.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/no_senders.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/error_line.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::mach {

namespace {

// Returns the code by which a client is told what its handler has thrown.
kern_return_t code_of(const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  } catch (const std::system_error& e) {
    const bool is_kern = e.code().category() == kern_category() && e.code().value() != KERN_SUCCESS;
    return is_kern ? e.code().value() : KERN_FAILURE;
  } catch (...) {
    return KERN_FAILURE;
  }
}

// Returns the number of messages in the port `name`, 0 if it has died.
std::size_t queued_in(mach_port_name_t name) noexcept {
  mach_port_status_t status{};
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  const kern_return_t code =
      mach_port_get_attributes(mach_task_self(), name, MACH_PORT_RECEIVE_STATUS,
                               reinterpret_cast<mach_port_info_t>(&status), &count);
  return code == KERN_SUCCESS ? status.mps_msgcount : 0;
}

// Returns the number of messages in the members of the port set `name`.
std::size_t queued_in_set(mach_port_name_t name) noexcept {
  mach_port_name_array_t members = nullptr;
  mach_msg_type_number_t count = 0;
  if (mach_port_get_set_status(mach_task_self(), name, &members, &count) != KERN_SUCCESS) return 0;
  std::size_t sum = 0;
  for (mach_msg_type_number_t i = 0; i < count; ++i) sum += queued_in(members[i]);
  vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(members),
                count * sizeof(mach_port_name_t));
  return sum;
}

// Returns true for a send right to a port of this task. A reply by it would arrive there as a
// request with the token of this task, and with an id that the client has chosen.
bool is_own(const reply_right& right) noexcept {
  if (!right || right.disposition() != MACH_MSG_TYPE_MOVE_SEND) return false;
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  return mach_port_type(mach_task_self(), right.name(), &type) == KERN_SUCCESS &&
         (type & MACH_PORT_TYPE_RECEIVE) != 0;
}

}  // namespace

void print_failed_request(mach_msg_id_t id, const audit_token_t& peer,
                          const std::exception_ptr& failure) noexcept {
  const auto print = [&](const char* what) {
    print_error_line("kedge: request %d of process %d: %s\n", id,
                     static_cast<int>(process_of(peer)), what);
  };
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    print(e.what());
  } catch (...) {
    print("an exception of an unknown type");
  }
}

void serve_control::stop() noexcept {
  is_stopped_ = true;
  if (running_ != nullptr && running_->receiving_ != nullptr) running_->receiving_->cancel();
}

// Is the one serve() of its control.
class server::control_hold {
 public:
  explicit control_hold(server& s) : server_(s) {
    if (s.control_.running_ != nullptr) {
      throw std::logic_error("kedge::mach::serve: another serve() has this serve_control");
    }
    s.control_.running_ = &s;
    s.counters_ = {};
  }
  control_hold(const control_hold&) = delete;
  control_hold& operator=(const control_hold&) = delete;
  ~control_hold() {
    server_.control_.running_ = nullptr;
    server_.connections_.clear();
    server_.counters_.connections = 0;
  }

 private:
  server& server_;
};

// Lets stop() cancel the scope in which requests are received, while there is one: a serve() that
// is cancelled still waits for its requests when the scope has gone.
class server::receiving_hold {
 public:
  receiving_hold(server& s, scope& receiving) noexcept : server_(s) { s.receiving_ = &receiving; }
  receiving_hold(const receiving_hold&) = delete;
  receiving_hold& operator=(const receiving_hold&) = delete;
  ~receiving_hold() { server_.receiving_ = nullptr; }

 private:
  server& server_;
};

served_request::served_request(server& of, received&& m, connection_base* from) noexcept
    : of_(&of), message_(std::move(m)), from_(from) {
  ++of_->counters_.running;
  if (from_ != nullptr) ++from_->running_;
}

served_request::~served_request() {
  if (of_ == nullptr) return;
  if (from_ != nullptr && --from_->running_ == 0) of_->end_if_unused(*from_);
  if (--of_->counters_.running == 0) of_->idle_.set();
}

void served_request::reply(kedge::mach::message&& m) noexcept {
  std::error_code error;
  try {
    reply_right to = message_.take_reply();
    error = is_own(to) ? make_error_code(errc::not_privileged)
                       : mach::reply(std::move(to), std::move(m));
  } catch (const std::exception&) {
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  if (error && error != errc::empty_right) ++of_->counters_.undelivered;
}

void served_request::reply_error(kern_return_t code) noexcept {
  kedge::mach::message m;
  try {
    m = encode_error(message_.id(), code);
  } catch (const std::exception&) {
    ++of_->counters_.undelivered;
    return;
  }
  reply(std::move(m));
}

void served_request::answer(kedge::mach::message&& m) noexcept {
  ++of_->counters_.handled;
  reply(std::move(m));
}

void served_request::answer(kern_return_t code) noexcept {
  ++of_->counters_.handled;
  reply_error(code);
}

void served_request::end() noexcept {
  ++of_->counters_.handled;
}

void served_request::refuse(kern_return_t code) noexcept {
  ++(code == MIG_BAD_ID ? of_->counters_.unknown : of_->counters_.malformed);
  reply_error(code);
}

void served_request::refuse_peer() noexcept {
  ++of_->counters_.refused;
  reply_error(KERN_NO_ACCESS);
}

void served_request::fail(const std::exception_ptr& failure) noexcept {
  ++of_->counters_.failed;
  of_->options_.on_failure(message_.id(), message_.sender(), failure);
  reply_error(code_of(failure));
}

void served_request::time_out() noexcept {
  ++of_->counters_.timed_out;
  reply_error(KERN_OPERATION_TIMED_OUT);
}

server::server(const receive_right* port, port_set* set, const serve_options& options,
               std::size_t max_size, bool has_connections)
    : port_(port),
      own_set_(port != nullptr && *port && has_connections ? port_set::make() : port_set()),
      set_(own_set_ ? &own_set_ : set),
      options_(options),
      max_size_(std::max(max_size, default_max_message)),
      control_(options.control != nullptr ? *options.control : own_control_),
      counters_(control_.counters_) {
  if (options_.concurrency == 0) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                            "kedge::mach::serve: a concurrency of 0");
  }
  if (own_set_) own_set_.insert(*port_);
}

task<serve_report> server::run(dispatcher& handlers) {
  const control_hold held(*this);
  const auto receiving = [this, &handlers](scope& s) -> task<> {
    const receiving_hold until_end(*this, s);
    if (!control_.is_stopped_) co_await receive_all(handlers);
  };
  const auto body = [this, &handlers, &receiving](scope& s) -> task<> {
    s.set_limit(options_.concurrency);
    requests_ = &s;
    co_await with_scope(std::ref(receiving));
    const auto drained = co_await with_timeout(options_.grace, drain(handlers));
    if (drained) co_return;
    note_stuck();
    s.cancel();
  };
  co_await with_scope(std::ref(body));
  report_.counters = counters_;
  co_return std::move(report_);
}

receive_awaitable server::receive() const noexcept {
  return (set_ != nullptr ? set_->receive() : port_->receive()).at_most(max_size_);
}

task<> server::wait_for_room() {
  (void)co_await requests_->room();
}

task<> server::receive_all(dispatcher& handlers) {
  for (;;) {
    if (counters_.running >= options_.concurrency) co_await wait_for_room();
    result<received> m = co_await receive();
    if (m) {
      take(std::move(*m), handlers);
      continue;
    }
    const bool is_short = m.error() == msg_error(KERN_RESOURCE_SHORTAGE);
    if (!is_short) {
      if (m.error() != kedge::errc::closed) report_.error = m.error();
      co_return;
    }
    co_await sleep_for(std::chrono::milliseconds(100));
  }
}

// Handles the requests that were queued when it began, and waits for all that are being handled.
task<> server::drain(dispatcher& handlers) {
  for (std::size_t left = queued(); left > 0 && queued() > 0; --left) {
    if (counters_.running >= options_.concurrency) co_await wait_for_room();
    result<received> m = co_await receive().telling_losses();
    if (m) take(std::move(*m), handlers);
  }
  while (counters_.running != 0) {
    idle_.reset();
    (void)co_await idle_.wait();
  }
}

void server::take(received&& m, dispatcher& handlers) noexcept {
  ++counters_.received;
  connection_base* const from = connection_of(m);
  served_request r(*this, std::move(m), from);
  // The kernel answers requests whose id and reply port any client chooses, as root.
  if (r.message().from_kernel()) {
    ++counters_.refused;
    return;
  }
  if (!options_.peers.admits(r.message().sender())) {
    r.refuse_peer();
    return;
  }
  try {
    handlers.dispatch(*this, std::move(r));
  } catch (...) {
    if (r) {
      r.fail(std::current_exception());
    } else {
      ++counters_.failed;  // the task that was to handle it could not be spawned
    }
  }
}

connection_base* server::connection_of(const received& m) noexcept {
  if (m.tag() == 0) return nullptr;
  const auto found = connections_.find(m.tag());
  if (found == connections_.end() || !m.arrived_on(found->second->port_)) return nullptr;
  return found->second.get();
}

void server::require_connection() const {
  if (connections_.size() < options_.most_connections) return;
  throw std::system_error(kern_error(KERN_RESOURCE_SHORTAGE),
                          "kedge::mach::serve: most_connections are open");
}

send_right server::add(std::unique_ptr<connection_base> made) {
  const std::uint64_t tag = next_tag_++;
  made->tag_ = tag;
  send_right right = made->port_.make_send();
  connection_base& added = *connections_.emplace(tag, std::move(made)).first->second;
  try {
    set_->insert(added.port_, tag);
    requests_->spawn(background(&server::watch), std::ref(*this), tag);
  } catch (...) {
    connections_.erase(tag);
    throw;
  }
  counters_.connections = connections_.size();
  return right;
}

// Waits until the connection has no senders.
task<> server::watch(server& s, std::uint64_t tag) {
  const auto found = s.connections_.find(tag);
  if (found == s.connections_.end()) co_return;
  // A failure means that the kernel cannot watch the port: nothing else would end the connection.
  try {
    (void)co_await no_senders(found->second->port_);
  } catch (const std::exception&) {
    // There is no memory, or no name, for the port of the notification.
  }
  const auto still = s.connections_.find(tag);
  if (still == s.connections_.end()) co_return;
  still->second->has_senders_ = false;
  s.end_if_unused(*still->second);
}

// Requests that the client has sent before it gave up its right are handled.
void server::end_if_unused(const connection_base& c) noexcept {
  if (c.has_senders_ || c.running_ != 0 || queued_in(c.port_.name()) != 0) return;
  try {
    set_->remove(c.port_);
  } catch (const std::exception&) {
    // The port leaves the set when it is destroyed.
  }
  connections_.erase(c.tag_);
  counters_.connections = connections_.size();
}

std::size_t server::queued() const noexcept {
  return set_ != nullptr ? queued_in_set(set_->name()) : queued_in(port_->name());
}

void server::note_stuck() noexcept {
  report_.stuck = counters_.running;
  try {
    std::ostringstream tree;
    loop::current()->dump(tree);
    report_.where = tree.str();
  } catch (const std::bad_alloc&) {
    // The report stays without the tree.
  }
}

}  // namespace kedge::mach
