// process: a program in a world. It is what world::start() returns, and what a test asks.
// message_query: the messages that a test is about.
//
//     service.sent(granted).to(waiter).count() == 1
//     w.until(holder.received(granted));
//
// A message's id is an int, or a type with a member `id`.
#pragma once

#include <mach/message.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/tools/harness/event_log.h"

namespace kedge::harness {

class process;
class world;
class running_process;

// A condition of the world, for world::until() and world::expect(). It says what it is about.
struct condition {
  std::function<bool()> holds;
  std::string text;
  std::function<std::string()> instead{};  // what has happened instead
  std::function<bool()> is_hopeless{};     // it can never hold any more

  explicit operator bool() const { return holds(); }
};
// The text, and what has happened instead.
std::string to_string(const condition& c);

class message_query {
 public:
  // Only messages from, or to, this process.
  message_query from(const process& p) const;
  message_query to(const process& p) const;
  // Only messages that carry a right of this kind (MACH_MSG_TYPE_PORT_*), the reply port left out.
  message_query with(mach_msg_type_name_t kind) const;
  // Only messages that have these bytes `offset` bytes behind their header and descriptors.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  message_query with_data(const T& value, std::size_t offset = 0) const {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
    return with_bytes({bytes, bytes + sizeof value}, offset);
  }
  message_query with_bytes(std::vector<std::byte> bytes, std::size_t offset = 0) const;
  // Only messages of which this is true.
  message_query where(std::function<bool(const message_record&)> is_meant) const;

  // How many there have been so far.
  std::size_t count() const;
  // The first one; null: there was none. Valid until the world goes on.
  const message_record* first() const;
  // There was one. `at_least`: so many.
  condition at_least(std::size_t n) const;
  condition exactly(std::size_t n) const;
  operator condition() const { return at_least(1); }

  std::string to_string() const;

 private:
  friend class process;
  friend condition before(const message_query& first, const message_query& second);
  std::size_t first_event() const;
  bool has_happened() const;
  std::string instead() const;
  bool is_hopeless() const;
  message_query(const world& w, mach_msg_id_t id) noexcept : world_(&w), id_(id) {}
  bool matches(const message_record& m) const;

  const world* world_;
  mach_msg_id_t id_;
  process_index sender_ = no_process;
  process_index receiver_ = no_process;
  bool must_be_received_ = false;
  bool is_of_kernel_ = false;
  mach_msg_type_name_t kind_ = 0;
  std::vector<std::function<bool(const message_record&)>> conditions_;
};

// The first message of `first` was sent, or received if it asks for those received, before the
// first one of `second`.
condition before(const message_query& first, const message_query& second);

// The id of a message: as a number, or of a type that has it.
struct message_id {
  constexpr message_id(mach_msg_id_t id) noexcept : value(id) {}
  mach_msg_id_t value;
};

class process {
 public:
  process(const process&) = delete;
  process& operator=(const process&) = delete;

  const std::string& name() const noexcept;

  // What its main has returned, or exit() was called with; 128 and a number as a shell has it if it
  // has ended otherwise. Throws std::logic_error if it has not ended.
  int status() const;
  bool has_ended() const noexcept;
  bool was_killed() const noexcept;
  // Its calls of the kernel so far.
  std::uint32_t calls() const noexcept;

  // It has waited for something at least once.
  condition started_waiting() const;
  // The messages that it has sent, and received.
  message_query sent(message_id id) const;
  message_query received(message_id id) const;
  template <class Message>
  message_query sent() const {
    return sent(Message::id);
  }
  template <class Message>
  message_query received() const {
    return received(Message::id);
  }
  // The kernel's notifications that it has received: MACH_NOTIFY_*.
  message_query notified(mach_msg_id_t id) const;
  // Those that a port of the process has died, as a dead name.
  message_query notified_of_death(const process& of) const;
  // Its guard exceptions so far. A test that does not ask for them fails if there are any.
  const std::vector<mach::kernel::guard_exception>& guard_exceptions() const;
  // The most messages that have waited in one of its ports at once.
  std::size_t queue_seen() const;

  // Ends it here and now, as SIGKILL does: no destructor runs, its rights go, its peers are
  // notified. Throws std::logic_error if it has ended.
  void kill();
  // It gets no turn until resume(). Throws std::logic_error if it has ended.
  void suspend();
  void resume();
  // It gets no turn for so much time. Throws std::logic_error if it has ended.
  void stall(std::chrono::nanoseconds length);
  // It stops before its next call that others can notice, or before it sends this message, until
  // release(). Throw std::logic_error if it has ended.
  void hold();
  void hold(message_id id);
  template <class Message>
  void hold() {
    hold(message_id(Message::id));
  }
  void release();
  bool is_held() const noexcept;
  // Fills the queue of a port of its own with messages that have only a header. `number`: the
  // port's in reports, 1 for "lockd.1". Returns how many it took. Throws std::invalid_argument if
  // it receives from no such port.
  std::size_t fill(std::uint32_t number, message_id id);

 private:
  friend class world;
  friend class message_query;
  friend class running_process;
  explicit process(running_process& of) noexcept : of_(of) {}

  running_process& of_;
};

}  // namespace kedge::harness
