// Executes the operations of the grammar of kqueue traces, one function for each.
#include "kqueue_player.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <ctime>
#include <span>

#include "kedge/runtime/kqueue/extension.h"
#include "kqueue_names.h"
#include "script.h"

namespace conformance {
namespace {

constexpr int first_file = 200;  // the number of slot f0
constexpr int file_count = 16;
constexpr int never_open = 391;  // the number that `bad` denotes

// More than a trace has knotes. A call may name more room than it has.
constexpr int most_events = 1024;

constexpr std::uint64_t millisecond = 1'000'000;

std::uint64_t virtual_time = 1'000'000'000;  // ns

std::uint64_t read_virtual_time(void*) noexcept {
  return virtual_time;
}

// The one place that knows how a clock is replaced.
void use_virtual_time(int kq) {
  kedge::kqueue::use_clock(kq, read_virtual_time, nullptr);
}

std::uint64_t wall_time() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t nanoseconds_of_unit(std::uint32_t fflags) {
  if ((fflags & NOTE_SECONDS) != 0) return 1'000'000'000;
  if ((fflags & NOTE_USECONDS) != 0) return 1000;
  return (fflags & (NOTE_NSECONDS | NOTE_MACHTIME)) != 0 ? 1 : millisecond;
}

std::string result(int error) {
  return error == 0 ? "= OK" : "= " + write_errno(error);
}

// The result of a call that gives -1 with errno.
std::string result_of(int returned) {
  return result(returned < 0 ? errno : 0);
}

std::string hex(std::uint64_t value) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
  return {digits, end};
}

bool is_about_descriptors(std::int16_t filter) {
  return filter == EVFILT_READ || filter == EVFILT_WRITE || filter == EVFILT_VNODE ||
         filter == EVFILT_EXCEPT;
}

// Reads the number after a letter: f0 to f15, p0 to p7.
std::size_t read_index(std::string_view name, char letter, std::size_t count) {
  if (!name.starts_with(letter)) throw bad_script("not a name", name);
  const auto index = read_number<std::size_t>(name.substr(1));
  if (index >= count) throw bad_script("no such name", name);
  return index;
}

// Moves an end of a pipe to its slot, without the close-on-exec and blocking modes.
int move_to_slot(int from, std::string_view slot) {
  const int to = first_file + static_cast<int>(read_index(slot, 'f', file_count));
  const int got = dup2(from, to);
  const int error = got < 0 ? errno : 0;
  close(from);
  if (error == 0) fcntl(to, F_SETFL, fcntl(to, F_GETFL) | O_NONBLOCK);
  return error;
}

// The life of a child: it waits for its order and ends as that says.
[[noreturn]] void live(int order) {
  unsigned char status = 0;
  if (read(order, &status, 1) != 1) _exit(0);
  if ((status & 0x80) != 0) {
    // 1 and not 0: so that a program that core_pattern names is not run either.
    const rlimit no_core{1, 1};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(status & 0x7f, SIG_DFL);
    raise(status & 0x7f);
  }
  _exit(status);
}

}  // namespace

struct kqueue_player::call {
  int kq = -1;
  bool is_wide = false;
  std::vector<kevent64_s> changes;
  bool no_changelist = false;
  bool no_eventlist = false;
  int room = 0;
  unsigned flags = 0;
  timespec timeout{};
  bool waits_for_ever = false;

  // One call. Returns its result, with errno.
  int make(bool with_changes, const timespec* time, std::vector<kevent64_s>& events) const;
  // The series of calls that stands for one with a time-out.
  int make_all(std::vector<kevent64_s>& events) const;
};

int kqueue_player::call::make(bool with_changes, const timespec* time,
                              std::vector<kevent64_s>& events) const {
  const int nchanges = !with_changes ? 0 : no_changelist ? 1 : static_cast<int>(changes.size());
  events.assign(static_cast<std::size_t>(std::clamp(room, 1, most_events)), {});
  if (is_wide) {
    return kevent64(kq, nchanges == 0 || no_changelist ? nullptr : changes.data(), nchanges,
                    no_eventlist ? nullptr : events.data(), room, flags, time);
  }
  std::vector<struct kevent> narrow_changes;
  for (const kevent64_s& c : changes) {
    narrow_changes.push_back({static_cast<std::uintptr_t>(c.ident), c.filter, c.flags, c.fflags,
                              static_cast<std::intptr_t>(c.data),
                              reinterpret_cast<void*>(c.udata)});
  }
  std::vector<struct kevent> got(events.size());
  const int count = kevent(kq, nchanges == 0 || no_changelist ? nullptr : narrow_changes.data(),
                           nchanges, no_eventlist ? nullptr : got.data(), room, time);
  for (int i = 0; i < count && !no_eventlist; ++i) {
    const struct kevent& e = got[static_cast<std::size_t>(i)];
    events[static_cast<std::size_t>(i)] = {
        e.ident, e.filter, e.flags, e.fflags, e.data, reinterpret_cast<std::uint64_t>(e.udata), {}};
  }
  return count;
}

int kqueue_player::call::make_all(std::vector<kevent64_s>& events) const {
  const bool is_valid = timeout.tv_sec >= 0 && timeout.tv_sec <= INT32_MAX &&
                        timeout.tv_nsec >= 0 && timeout.tv_nsec <= 1'000'000'000;
  const bool is_series = (waits_for_ever || is_valid) && (flags & KEVENT_FLAG_IMMEDIATE) == 0;
  if (!is_series) return make(true, waits_for_ever ? nullptr : &timeout, events);
  const timespec no_time{};
  int count = make(true, &no_time, events);
  if (room <= 0 || (flags & KEVENT_FLAG_ERROR_EVENTS) != 0) return count;
  std::uint64_t left = static_cast<std::uint64_t>(timeout.tv_sec) * 1'000'000'000 +
                       static_cast<std::uint64_t>(timeout.tv_nsec);
  // A trace whose script has to block for ever was not recorded: only a timer can end the wait.
  if (waits_for_ever) left = 1000 * 1000 * millisecond;
  while (count == 0 && left != 0) {
    const std::uint64_t step = std::min(left, millisecond);
    left -= step;
    virtual_time += step;
    count = make(false, &no_time, events);
  }
  return count == 0 && waits_for_ever ? make(false, nullptr, events) : count;
}

kqueue_player::kqueue_player() {
  for (const int ignored : {SIGPIPE, SIGUSR1, SIGUSR2}) signal(ignored, SIG_IGN);
}

const kqueue_player::operation kqueue_player::operations[] = {
    {"kqueue", 1, &kqueue_player::make_kqueue}, {"dup", 2, &kqueue_player::duplicate},
    {"close", 1, &kqueue_player::close_number}, {"pipe", 2, &kqueue_player::make_pair},
    {"sock", 2, &kqueue_player::make_pair},     {"write", 2, &kqueue_player::transfer},
    {"read", 2, &kqueue_player::transfer},      {"fill", 1, &kqueue_player::fill},
    {"drain", 1, &kqueue_player::drain},        {"shut", 2, &kqueue_player::shut},
    {"signal", 1, &kqueue_player::send_signal}, {"spawn", 1, &kqueue_player::spawn},
    {"exit", 2, &kqueue_player::end_child},     {"reap", 1, &kqueue_player::reap},
    {"advance", 1, &kqueue_player::advance},    {"poll", 1, &kqueue_player::poll_kqueue},
    {"kev", 0, &kqueue_player::kevent_call},    {"kev64", 0, &kqueue_player::kevent_call},
};

bool is_kqueue_operation(std::string_view operation) {
  const std::string_view name = operation.substr(0, operation.find(' '));
  return std::ranges::any_of(kqueue_player::operations,
                             [name](const auto& each) { return each.name == name; });
}

std::string kqueue_player::play(std::string_view text) {
  const words given = split(text, ' ');
  for (const operation& each : operations) {
    if (each.name != given[0]) continue;
    const bool is_call = each.arguments == 0;
    if (is_call ? given.size() < 2 : given.size() != each.arguments + 1)
      throw bad_script("a wrong number of arguments", text);
    return (this->*each.run)(given);
  }
  throw bad_script("not an operation", given[0]);
}

// --- Names.

int kqueue_player::number_of(std::string_view name) const {
  if (name == "bad") return never_open;
  if (name.starts_with('f'))
    return first_file + static_cast<int>(read_index(name, 'f', file_count));
  if (!name.starts_with('q')) throw bad_script("not a name", name);
  const auto found = kqueues_.find(name);
  return found != kqueues_.end() ? found->second : never_open;
}

pid_t kqueue_player::pid_of(std::string_view name) const {
  if (name == "self") return getpid();
  return children_[read_index(name, 'p', children_.size())].pid;
}

kqueue_player::child& kqueue_player::child_of(std::string_view name) {
  return children_[read_index(name, 'p', children_.size())];
}

// --- Kqueues and files.

std::string kqueue_player::make_kqueue(const words& given) {
  const int kq = kqueue();
  if (kq < 0) return result(errno);
  use_virtual_time(kq);
  kqueues_[std::string(given[1])] = kq;
  names_[kq] = given[1];
  return "= OK";
}

std::string kqueue_player::duplicate(const words& given) {
  if (!given[1].starts_with('q')) return result_of(dup2(number_of(given[1]), number_of(given[2])));
  const int made = dup(number_of(given[1]));
  if (made < 0) return result(errno);
  kqueues_[std::string(given[2])] = made;
  names_[made] = given[2];
  return "= OK";
}

std::string kqueue_player::close_number(const words& given) {
  const std::string done = result_of(close(number_of(given[1])));
  if (given[1].starts_with('q')) kqueues_.erase(std::string(given[1]));
  return done;
}

std::string kqueue_player::make_pair(const words& given) {
  int ends[2];
  const int made = given[0] == "sock" ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends);
  if (made != 0) return result(errno);
  const int error = move_to_slot(ends[0], given[1]);
  const int other_error = move_to_slot(ends[1], given[2]);
  return result(error != 0 ? error : other_error);
}

std::string kqueue_player::transfer(const words& given) {
  const int fd = number_of(given[1]);
  std::vector<char> bytes(read_number<std::size_t>(given[2]));
  const ssize_t done = given[0] == "write" ? write(fd, bytes.data(), bytes.size())
                                           : read(fd, bytes.data(), bytes.size());
  return done < 0 ? result(errno) : "= " + std::to_string(done);
}

std::string kqueue_player::fill(const words& given) {
  const int fd = number_of(given[1]);
  const char block[4096]{};
  while (write(fd, block, sizeof block) > 0) {
  }
  while (write(fd, block, 1) > 0) {
  }
  return "= OK";
}

std::string kqueue_player::drain(const words& given) {
  char block[4096];
  while (read(number_of(given[1]), block, sizeof block) > 0) {
  }
  return "= OK";
}

std::string kqueue_player::shut(const words& given) {
  const int how = given[2] == "rd" ? SHUT_RD : given[2] == "wr" ? SHUT_WR : SHUT_RDWR;
  shutdown(number_of(given[1]), how);
  return "= OK";
}

std::string kqueue_player::poll_kqueue(const words& given) {
  pollfd asked{number_of(given[1]), POLLIN, 0};
  if (poll(&asked, 1, 0) < 0) return result(errno);
  if ((asked.revents & POLLNVAL) != 0) return "= EBADF";
  return (asked.revents & POLLIN) != 0 ? "= 1" : "= 0";
}

// --- Signals, processes and time.

std::string kqueue_player::send_signal(const words& given) {
  const std::optional<int> number = signal_named(given[1]);
  if (!number) throw bad_script("not a signal", given[1]);
  return result_of(kill(getpid(), *number));
}

std::string kqueue_player::spawn(const words& given) {
  int ends[2];
  if (pipe(ends) != 0) return result(errno);
  child& made = child_of(given[1]);
  made.pid = fork();
  if (made.pid == 0) {
    close(ends[1]);
    live(ends[0]);
  }
  const int error = made.pid < 0 ? errno : 0;
  close(ends[0]);
  made.order = ends[1];
  return result(error);
}

std::string kqueue_player::end_child(const words& given) {
  child& ending = child_of(given[1]);
  const auto status = static_cast<unsigned char>(read_number<int>(given[2]));
  if (write(ending.order, &status, 1) != 1) return result(errno);
  close(ending.order);
  siginfo_t ended{};
  return result_of(waitid(P_PID, static_cast<id_t>(ending.pid), &ended, WEXITED | WNOWAIT));
}

std::string kqueue_player::reap(const words& given) {
  return result_of(waitpid(pid_of(given[1]), nullptr, 0));
}

std::string kqueue_player::advance(const words& given) {
  virtual_time += read_number<std::uint64_t>(given[1]);
  return "= OK";
}

// --- kevent() and kevent64().

std::uint64_t kqueue_player::read_ident(std::int16_t filter, std::string_view word) const {
  if (filter == EVFILT_SIGNAL) {
    if (const std::optional<int> number = signal_named(word))
      return static_cast<std::uint64_t>(*number);
  }
  if (word == "self" || word.starts_with('p')) return static_cast<std::uint64_t>(pid_of(word));
  if (word == "bad" || word.starts_with('f') || word.starts_with('q'))
    return static_cast<std::uint64_t>(number_of(word));
  return read_number<std::uint64_t>(word);
}

kevent64_s kqueue_player::read_change(std::string_view text) const {
  const words field = split(text, ':');
  if (field.size() != 6 && field.size() != 8) throw bad_script("not a change", text);
  kevent64_s c{};
  c.filter = read_filter(field[0]);
  c.ident = read_ident(c.filter, field[1]);
  c.flags = read_flags(field[2]);
  c.fflags = read_number<std::uint32_t>(field[3], 16);
  if (field[4].starts_with('M')) {
    c.data =
        static_cast<std::int64_t>(virtual_time) + read_number<std::int64_t>(field[4].substr(1));
  } else if (field[4].starts_with('W')) {
    c.data = static_cast<std::int64_t>(wall_time() / nanoseconds_of_unit(c.fflags)) +
             read_number<std::int64_t>(field[4].substr(1));
  } else {
    c.data = read_number<std::int64_t>(field[4]);
  }
  c.udata = read_number<std::uint64_t>(field[5], 16);
  if (field.size() == 8) {
    c.ext[0] = read_number<std::uint64_t>(field[6], 16);
    c.ext[1] = read_number<std::uint64_t>(field[7], 16);
  }
  return c;
}

kqueue_player::call kqueue_player::read_call(const words& given) const {
  call made;
  made.is_wide = given[0] == "kev64";
  made.kq = number_of(given[1]);
  for (const std::string_view word : std::span(given).subspan(2)) {
    const std::string_view value = word.substr(std::min(word.find('=') + 1, word.size()));
    if (word.starts_with("n=")) {
      made.room = read_number<int>(value);
    } else if (word.starts_with("fl=")) {
      made.flags = read_number<unsigned>(value, 16);
    } else if (word == "t=none") {
      made.waits_for_ever = true;
    } else if (word == "t=bad") {
      made.timeout.tv_nsec = 1'000'000'001;
    } else if (word == "t=negns") {
      made.timeout.tv_nsec = -1;
    } else if (word == "t=neg") {
      made.timeout.tv_sec = -1;
    } else if (word == "t=huge") {
      made.timeout.tv_sec = std::time_t{1} << 31;
    } else if (word.starts_with("t=")) {
      const auto milliseconds = read_number<long>(value);
      made.timeout = {milliseconds / 1000, milliseconds % 1000 * static_cast<long>(millisecond)};
    } else if (word == "cnull") {
      made.no_changelist = true;
    } else if (word == "enull") {
      made.no_eventlist = true;
    } else if (word.starts_with("c=")) {
      made.changes.push_back(read_change(value));
    } else {
      throw bad_script("not a part of a call", word);
    }
  }
  return made;
}

std::string kqueue_player::kevent_call(const words& given) {
  const call made = read_call(given);
  std::vector<kevent64_s> events;
  const int count = made.make_all(events);
  if (count < 0) return result(errno);
  std::string text = "= " + std::to_string(count);
  for (int i = 0; i < count; ++i)
    text += " e=" + write_event(events[static_cast<std::size_t>(i)], made.is_wide);
  return text;
}

std::string kqueue_player::write_ident(const kevent64_s& event) const {
  if (is_about_descriptors(event.filter) && event.ident <= INT_MAX) {
    const auto number = static_cast<int>(event.ident);
    if (number == never_open) return "bad";
    if (number >= first_file && number < first_file + file_count)
      return "f" + std::to_string(number - first_file);
    const auto found = names_.find(number);
    if (found != names_.end()) return found->second;
  } else if (event.filter == EVFILT_PROC) {
    if (static_cast<std::int64_t>(event.ident) == getpid()) return "self";
    for (std::size_t i = 0; i < children_.size(); ++i) {
      if (children_[i].pid != 0 && static_cast<std::int64_t>(event.ident) == children_[i].pid)
        return "p" + std::to_string(i);
    }
  } else if (event.filter == EVFILT_SIGNAL) {
    if (const char* const name = name_of_signal(static_cast<std::int64_t>(event.ident)))
      return name;
  }
  return std::to_string(static_cast<std::int64_t>(event.ident));
}

std::string kqueue_player::write_event(const kevent64_s& event, bool is_wide) const {
  std::string amount = std::to_string(event.data);
  if ((event.flags & EV_ERROR) != 0) {
    amount = write_errno(event.data);
  } else if (event.filter == EVFILT_WRITE) {
    amount = event.data > 0 ? "+" : event.data == 0 ? "0" : "-";
  } else if (event.filter == EVFILT_READ && event.data > 4096) {
    amount = "big";
  }
  std::string text = write_filter(event.filter) + ":" + write_ident(event) + ":" +
                     write_flags(event.flags) + ":" + hex(event.fflags) + ":" + amount + ":" +
                     hex(event.udata);
  if (is_wide) text += ":" + hex(event.ext[0]) + ":" + hex(event.ext[1]);
  return text;
}

}  // namespace conformance
