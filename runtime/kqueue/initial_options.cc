#include "kedge/runtime/kqueue/initial_options.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

constexpr char variable[] = "KEDGE_KQUEUE_OPT_OUT";

// Returns the option of this name, or 0.
unsigned option_of(std::string_view name) noexcept {
  if (name == "no_data") return no_data;
  if (name == "not_pollable") return not_pollable;
  return 0;
}

// Calls visit(name) for every name in the value of the variable.
template <class Visit>
void each_name(std::string_view value, Visit visit) noexcept {
  while (!value.empty()) {
    const std::size_t end = std::min(value.find(','), value.size());
    std::string_view name = value.substr(0, end);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) visit(name);
    value.remove_prefix(std::min(end + 1, value.size()));
  }
}

// One line, cut where it is too long, for a single write.
struct line {
  char text[512];
  std::size_t size = 0;

  void append(std::string_view part) noexcept {
    const std::size_t length = std::min(part.size(), sizeof text - 1 - size);
    std::memcpy(text + size, part.data(), length);
    size += length;
  }
  // Text that is not ours may have newlines, and sequences that a terminal obeys.
  void append_printable(std::string_view part) noexcept {
    for (const char c : part) append(c >= ' ' && c <= '~' ? std::string_view(&c, 1) : "?");
  }
  void write() noexcept {
    const no_cancellation guard;
    text[size++] = '\n';
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, size);
  }
};

// Requires that there is an unknown name.
void report_unknown_names(std::string_view value) noexcept {
  line report;
  report.append("kedge: ");
  report.append(variable);
  report.append(" knows no_data and not_pollable, but not");
  const char* separator = " ";
  each_name(value, [&](std::string_view name) {
    if (option_of(name) != 0) return;
    report.append(separator);
    report.append_printable(name);
    separator = ", ";
  });
  report.write();
}

}  // namespace

unsigned initial_options() noexcept {
  static constinit std::atomic<int> known{-1};  // the options, once the variable is read
  if (const int options = known.load(std::memory_order_relaxed); options >= 0) [[likely]]
    return static_cast<unsigned>(options);
  const int error = errno;
  const char* const value = secure_getenv(variable);
  unsigned options = 0;
  bool has_unknown = false;
  if (value != nullptr) {
    each_name(value, [&](std::string_view name) {
      options |= option_of(name);
      has_unknown = has_unknown || option_of(name) == 0;
    });
  }
  int unread = -1;
  if (known.compare_exchange_strong(unread, static_cast<int>(options)) && has_unknown)
    report_unknown_names(value);
  errno = error;
  return options;
}

}  // namespace kedge::kqueue
