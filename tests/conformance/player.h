// player: plays a trace (GRAMMAR). It executes operations through Darwin's C interface, in several
// tasks of this process, and writes a result line for each. One thread at a time.
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

  // Executes `tasks N`. Throws bad_script.
  void create_tasks(std::string_view count);

  // Returns the type of `name` in the task, as mach_port_names gives it, or MACH_PORT_TYPE_NONE if
  // the task has no such name. Has no effect on the task. Throws bad_script.
  mach_port_type_t type_of(std::size_t task, std::string_view name);
  // Returns true if `port` is a receive right in `set`. Has no effect. Throws bad_script.
  bool is_member(std::size_t task, std::string_view port, std::string_view set);
  // Returns true if `name` is a receive right in any set. Has no effect. Throws bad_script.
  bool is_in_set(std::size_t task, std::string_view name);

  // Executes one operation. Returns its result line. Throws bad_script.
  std::string play(std::string_view operation);

 private:
  // The state of one task.
  struct played_task {
    kedge::mach::kernel::task handle;
    symbols names;
    audit_token_t token{};
    std::vector<mach_port_name_t> ports_of_tasks;  // names in the space of this task
    std::vector<std::byte> received;  // the last received message, empty if it cannot be destroyed
    std::vector<region> received_memory;
    bool ended = false;
  };
  // The words of an operation after its name.
  class arguments;

  void read_token(played_task& played);
  void exchange_task_ports(std::size_t task);
  void update_live_names(played_task& played);
  message_names names_for_messages();
  std::string write_notified(mach_port_name_t name);
  std::string write_guards();

  mach_port_name_t read_name(arguments& from);
  std::string write_name(mach_port_name_t name);

  std::string execute(std::string_view operation, arguments& words);
  std::string execute_on_name(std::string_view operation, arguments& words);
  std::string allocate(arguments& words);
  std::string construct(arguments& words);
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
  bool stale_ = false;  // the live names of the current task were not updated since the call
  message_buffer buffer_;
  const message_names message_names_;
};

}  // namespace conformance
