// Plays traces (GRAMMAR): executes operations through Darwin's C interface, in several tasks, and
// writes down what they gave.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "message_text.h"
#include "symbols.h"

namespace conformance {

class player {
 public:
  player();
  ~player();
  player(const player&) = delete;
  player& operator=(const player&) = delete;

  // `tasks N`. Throws bad_script.
  void create_tasks(std::string_view count);

  // What the name stands for in the task, as mach_port_names tells it; MACH_PORT_TYPE_NONE:
  // nothing. Changes nothing. Throws bad_script.
  mach_port_type_t type_of(std::size_t task, std::string_view name);
  // Whether the name is a receive right in a set, or in that set; the same.
  bool is_member(std::size_t task, std::string_view port, std::string_view set);
  bool is_in_set(std::size_t task, std::string_view name);

  // Executes one operation; the result line. Throws bad_script.
  std::string play(std::string_view operation);

 private:
  // What is known of one task.
  struct played_task {
    kedge::mach::kernel::task handle;
    symbols names;
    audit_token_t token{};
    std::vector<mach_port_name_t> ports_of_tasks;  // in this task's space
    std::vector<std::byte> received;  // the last received message; empty if it cannot be destroyed
    std::vector<region> received_memory;
    bool ended = false;
  };
  // The words of an operation after its name.
  class arguments;

  void learn_token(played_task& of);
  void meet_others(std::size_t task);
  void look_around(played_task& of);  // at its names
  message_names names_for_messages();
  std::string write_notified(mach_port_name_t name);
  std::string write_guards();

  mach_port_name_t read_name(arguments& from);
  std::string write_name(mach_port_name_t name);

  std::string execute(std::string_view operation, arguments& words);
  std::string execute_on_status(std::string_view operation, arguments& words);
  std::string allocate(arguments& words);
  std::string construct(arguments& words);
  std::string get_refs(arguments& words);
  std::string list_names();
  std::string extract_right(arguments& words);
  std::string get_set_status(arguments& words);
  std::string get_attributes(arguments& words);
  std::string set_attributes(arguments& words);
  std::string request_notification(arguments& words);
  std::string peek(arguments& words);
  std::string transfer(arguments& words);
  std::string kill();
  std::string message(arguments& words);
  std::string destroy_message();

  std::vector<played_task> tasks_;
  std::size_t current_ = 0;
  bool stale_ = false;  // the current task's names were not looked at since the call
  message_buffer buffer_;
  const message_names message_names_;
};

}  // namespace conformance
