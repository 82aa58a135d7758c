// The tables of the words, and their two directions.
#include "kqueue_names.h"

#include <sys/event.h>

#include <cerrno>
#include <charconv>
#include <csignal>

#include "script.h"

namespace conformance {
namespace {

struct named {
  const char* name;
  std::int64_t value;
};

constexpr named filters[] = {{"read", EVFILT_READ},   {"write", EVFILT_WRITE},
                             {"aio", EVFILT_AIO},     {"vnode", EVFILT_VNODE},
                             {"proc", EVFILT_PROC},   {"signal", EVFILT_SIGNAL},
                             {"timer", EVFILT_TIMER}, {"machport", EVFILT_MACHPORT},
                             {"fs", EVFILT_FS},       {"user", EVFILT_USER},
                             {"vm", EVFILT_VM},       {"except", EVFILT_EXCEPT}};

// In the order in which they are written.
constexpr named flags[] = {
    {"add", EV_ADD},           {"delete", EV_DELETE},     {"enable", EV_ENABLE},
    {"disable", EV_DISABLE},   {"oneshot", EV_ONESHOT},   {"clear", EV_CLEAR},
    {"receipt", EV_RECEIPT},   {"dispatch", EV_DISPATCH}, {"uspec", EV_UDATA_SPECIFIC},
    {"vanished", EV_VANISHED}, {"error", EV_ERROR},       {"eof", EV_EOF}};

constexpr named errors[] = {{"EPERM", EPERM},           {"ENOENT", ENOENT},
                            {"ESRCH", ESRCH},           {"EINTR", EINTR},
                            {"EBADF", EBADF},           {"ENOMEM", ENOMEM},
                            {"EACCES", EACCES},         {"EFAULT", EFAULT},
                            {"EINVAL", EINVAL},         {"EMFILE", EMFILE},
                            {"EPIPE", EPIPE},           {"ERANGE", ERANGE},
                            {"EAGAIN", EAGAIN},         {"EINPROGRESS", EINPROGRESS},
                            {"ENOTSUP", ENOTSUP},       {"EXDEV", EXDEV},
                            {"ECONNRESET", ECONNRESET}, {"EEXIST", EEXIST},
                            {"ENOTTY", ENOTTY},         {"ENOTCONN", ENOTCONN}};

constexpr named signals[] = {
    {"usr1", SIGUSR1}, {"usr2", SIGUSR2}, {"winch", SIGWINCH}, {"urg", SIGURG}, {"chld", SIGCHLD}};

template <std::size_t size>
const named* by_name(const named (&all)[size], std::string_view name) {
  for (const named& each : all) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

template <std::size_t size>
const char* name_of(const named (&all)[size], std::int64_t value) {
  for (const named& each : all) {
    if (each.value == value) return each.name;
  }
  return nullptr;
}

std::string hex(std::uint64_t value) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
  return {digits, end};
}

}  // namespace

std::int16_t read_filter(std::string_view word) {
  const named* const known = by_name(filters, word);
  return known != nullptr ? static_cast<std::int16_t>(known->value)
                          : read_number<std::int16_t>(word);
}

std::string write_filter(std::int16_t filter) {
  const char* const name = name_of(filters, filter);
  return name != nullptr ? name : std::to_string(filter);
}

std::uint16_t read_flags(std::string_view words) {
  std::uint16_t all = 0;
  for (const std::string_view word : split(words, '+')) {
    if (const named* const known = by_name(flags, word)) {
      all = static_cast<std::uint16_t>(all | known->value);
    } else if (word.starts_with('x')) {
      all = static_cast<std::uint16_t>(all | read_number<std::uint16_t>(word.substr(1), 16));
    } else {
      throw bad_script("not a flag", word);
    }
  }
  return all;
}

std::string write_flags(std::uint16_t given) {
  std::string text;
  unsigned left = given;
  for (const named& each : flags) {
    const auto bit = static_cast<unsigned>(each.value);
    if ((left & bit) == 0) continue;
    left &= ~bit;
    text += (text.empty() ? "" : "+") + std::string(each.name);
  }
  if (left != 0 || text.empty()) text += (text.empty() ? "x" : "+x") + hex(left);
  return text;
}

std::string write_errno(std::int64_t error) {
  if (error == 0) return "0";
  const char* const name = name_of(errors, error);
  return name != nullptr ? name : "E" + std::to_string(error);
}

std::optional<int> signal_named(std::string_view word) {
  const named* const known = by_name(signals, word);
  if (known == nullptr) return std::nullopt;
  return static_cast<int>(known->value);
}

const char* name_of_signal(std::int64_t signal) {
  return name_of(signals, signal);
}

}  // namespace conformance
