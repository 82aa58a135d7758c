// event_log: what has happened in a world, in order: messages with what they carried, the deaths of
// processes, faults, and the moves of time. The expectations of a test ask it, and the report of a
// failure is made of it.
//
// Threads: that of the world.
#pragma once

#include <mach/message.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace kedge::harness {

// The index of a process in its world.
using process_index = std::uint32_t;
inline constexpr process_index no_process = ~process_index{0};
// Who sends what process::fill() sends.
inline constexpr process_index the_test = no_process - 1;

// A right that a message carried, by the kernel's number of its port (kernel::port_number()).
struct carried_right {
  std::uint64_t port = 0;         // 0: a dead name, or none
  mach_msg_type_name_t kind = 0;  // what arrives: MACH_MSG_TYPE_PORT_*
  bool is_reply = false;          // the header's reply port
};

struct message_record {
  mach_msg_id_t id = 0;
  std::uint64_t port = 0;               // where it was sent to
  process_index sender = no_process;    // no_process: the kernel
  process_index receiver = no_process;  // no_process: nobody has received it
  std::uint32_t sent_at = 0;            // step
  std::uint32_t received_at = 0;        // step
  std::uint32_t sender_call = 0;        // which call of its process
  std::uint32_t receiver_call = 0;
  std::uint32_t depth =
      0;                 // messages that were queued before it, as far as the world has seen them
  bool is_lost = false;  // it could not be sent
  std::uint32_t cause = 0;  // event::cause of its sending
  std::vector<carried_right> rights;
  std::vector<std::byte> body;  // behind the header, as it was sent, or as the kernel sent it
  std::size_t data_at = 0;      // in the body: what is behind the descriptors
};

enum class event_kind : std::uint8_t {
  sent,      // `index`: of the message
  received,  // likewise
  not_sent,  // likewise, `code`: mach_msg()'s
  killed,
  ended,  // `code`: the exit status
  suspended,
  resumed,
  time,   // `amount`: by how many nanoseconds it has moved
  fault,  // `note` says which
  guard,  // likewise: a guard exception
  other,  // likewise: what the test or the seed has done to a process
};

struct event {
  event_kind what;
  process_index of = no_process;
  std::uint32_t step = 0;
  std::uint32_t call = 0;  // which call of the process, counted from 1
  std::uint32_t index = 0;
  std::int32_t code = 0;
  std::uint64_t amount = 0;
  std::uint32_t cause = 0;  // the event of time that has woken the process, counted from 1
  std::uint32_t note = 0;   // a text of event_log::note(), if not 0
};

class event_log {
 public:
  void add(const event& e) { events_.push_back(e); }

  // A message was queued, or handed over. Adds the event too.
  void add_sent(message_record&& m);
  // The process of the event, which is added, has received a message from the port. Returns the
  // record of the message: the first one of this id and port that nobody has received, or a new
  // one, of the kernel's.
  message_record& add_received(std::uint64_t port, mach_msg_id_t id, const event& receiving);
  // The message could not be sent.
  void add_not_sent(message_record&& m, mach_msg_return_t code);

  // Notes who receives from a port. Its name in reports is the process's and a number.
  void name_port(std::uint64_t port, process_index receiver);
  struct port_name {
    process_index maker = no_process;
    std::uint32_t number = 0;  // 1 is the first of the maker's
  };
  port_name name_of(std::uint64_t port) const noexcept;
  // A message names the port. If nobody is known to receive from it, it is among the unnamed ones.
  void see_port(std::uint64_t port);
  // In the order in which they were seen first. name_port() takes them out.
  const std::vector<std::uint64_t>& unnamed_ports() const noexcept { return unnamed_; }

  // Keeps a text for an event, which has it as `note`.
  std::uint32_t add_note(std::string text);
  const std::string& note(const event& e) const noexcept { return notes_[e.note]; }

  std::span<const event> events() const noexcept { return events_; }
  std::span<const message_record> messages() const noexcept { return messages_; }

 private:
  std::vector<event> events_;
  std::vector<message_record> messages_;
  // The messages of a port that nobody has received, the oldest first.
  std::unordered_map<std::uint64_t, std::deque<std::uint32_t>> queued_;
  std::unordered_map<std::uint64_t, port_name> names_;  // of no maker: it is unnamed
  std::vector<std::uint64_t> unnamed_;
  std::vector<std::string> notes_{std::string()};
  std::vector<std::uint32_t> ports_made_;  // by process
};

}  // namespace kedge::harness
