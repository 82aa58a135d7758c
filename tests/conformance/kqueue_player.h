// kqueue_player: plays a trace of a kqueue. It executes operations through <sys/event.h> and the C
// library, and writes a result line for each.
//
// Timers read a virtual clock, which only `advance` and time-outs move. A kevent() call with a
// time-out is a series of calls without one, with the clock moved by 1 ms between them.
//
// Files, signals and children are the process's own, and files have fixed numbers. So a process
// plays one trace, in one thread (kqueue_replay.h).
#pragma once

#include <sys/event.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

// Returns whether `operation` is one of a kqueue's trace, by its first word.
bool is_kqueue_operation(std::string_view operation);

class kqueue_player {
 public:
  // Ignores SIGPIPE, SIGUSR1 and SIGUSR2.
  kqueue_player();
  kqueue_player(const kqueue_player&) = delete;
  kqueue_player& operator=(const kqueue_player&) = delete;

  // Executes one operation. Returns its result line. Throws bad_script.
  std::string play(std::string_view operation);

 private:
  using words = std::vector<std::string_view>;
  struct call;  // a kevent() or kevent64() call
  struct child {
    pid_t pid = 0;
    int order = -1;  // the pipe that brings its exit status
  };

  int number_of(std::string_view name) const;
  pid_t pid_of(std::string_view name) const;
  child& child_of(std::string_view name);

  std::string make_kqueue(const words& given);
  std::string duplicate(const words& given);
  std::string close_number(const words& given);
  std::string make_pair(const words& given);
  std::string transfer(const words& given);
  std::string fill(const words& given);
  std::string drain(const words& given);
  std::string shut(const words& given);
  std::string send_signal(const words& given);
  std::string spawn(const words& given);
  std::string end_child(const words& given);
  std::string reap(const words& given);
  std::string advance(const words& given);
  std::string poll_kqueue(const words& given);
  std::string kevent_call(const words& given);

  std::uint64_t read_ident(std::int16_t filter, std::string_view word) const;
  kevent64_s read_change(std::string_view text) const;
  call read_call(const words& given) const;
  std::string write_ident(const kevent64_s& event) const;
  std::string write_event(const kevent64_s& event, bool is_wide) const;

  struct operation {
    std::string_view name;
    std::size_t arguments;
    std::string (kqueue_player::*run)(const words&);
  };
  static const operation operations[];
  friend bool is_kqueue_operation(std::string_view);

  std::map<std::string, int, std::less<>> kqueues_;  // the numbers of the open ones, by name
  std::map<int, std::string> names_;                 // of each number, the last kqueue that had it
  std::array<child, 8> children_;
};

}  // namespace conformance
