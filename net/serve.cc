// serve(): the drain and the report.
#include "kedge/net/serve.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <new>
#include <sstream>

#include "kedge/net/sigpipe_guard.h"
#include "kedge/runtime/descriptor_file.h"
#include "kedge/runtime/loop.h"

namespace kedge::net {

namespace {

// Writes a line to stderr. Drops it where stderr is a pipe or a terminal without room: a client
// that makes handlers fail must not stop the loop.
void print_line(const char* text, std::size_t size) noexcept {
  const sigpipe_guard guard;  // the reader of a pipe may have gone
  if ((poll_now(STDERR_FILENO, POLLOUT) & POLLOUT) != 0) {
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, size);
  }
}

// At most as long as what a pipe with room takes at once.
template <class... Args>
void print_format(const char* format, Args... args) noexcept {
  std::array<char, _POSIX_PIPE_BUF> line;
  const int n = std::snprintf(line.data(), line.size(), format, args...);
  auto size = static_cast<std::size_t>(std::max(n, 0));
  if (size >= line.size()) {
    size = line.size();
    line.back() = '\n';
  }
  print_line(line.data(), size);
}

}  // namespace

void print_failure(const address& peer, const std::exception_ptr& failure) noexcept {
  const char* what = "an exception of an unknown type";
  try {
    const std::string from = peer.text();
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      print_format("kedge: connection of %s: %s\n", from.c_str(), e.what());
      return;
    } catch (...) {
      print_format("kedge: connection of %s: %s\n", from.c_str(), what);
    }
  } catch (...) {
    print_format("%s", "kedge: a connection has failed, and there is no memory to say why\n");
  }
}

namespace serve_detail {

task<bool> server::become_idle(std::chrono::nanoseconds grace) {
  if (open_ == 0) co_return true;
  idle_.reset();
  const auto ended = co_await with_timeout(grace, idle_.wait());
  co_return ended.has_value();
}

void server::note_stuck() noexcept {
  report.stuck = open_;
  try {
    std::ostringstream tree;
    loop::current()->dump(tree);
    report.where = tree.str();
  } catch (const std::bad_alloc&) {
    // The report stays without the tree.
  }
}

std::string server::name_of(const address& peer) {
  ++named_;
  std::string text = peer.text();
  if (!text.empty() && text != "unix:") return text;
  return "connection " + std::to_string(named_);
}

}  // namespace serve_detail
}  // namespace kedge::net
