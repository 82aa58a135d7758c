// run(command): reads both outputs at once, and ends the program when it is cancelled.
#include "kedge/runtime/run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/yield.h"

namespace kedge {
namespace {

// Reads to the end of the file, and keeps the first `limit` bytes. Returns the error of a read.
task<std::error_code> collect(descriptor& from, std::string& into, std::size_t limit,
                              bool& is_truncated) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto n = co_await from.read_some(buffer);
    if (!n) co_return n.error() == errc::end_of_file ? std::error_code() : n.error();
    const std::size_t kept = std::min(*n, limit - into.size());
    into.append(reinterpret_cast<const char*>(buffer.data()), kept);
    if (kept < *n) is_truncated = true;
  }
}

// The child is reaped last, so that its group exists for as long as a process writes.
task<result<run_output>> follow(process& child, std::size_t limit) {
  run_output all(exit_status(0));
  const auto [out, err] =
      co_await when_all(collect(child.output(), all.output, limit, all.is_truncated),
                        collect(child.error(), all.error, limit, all.is_truncated));
  if (out || err) co_return unexpected(out ? out : err, failed_operation{"run"});
  const auto status = co_await child.exited();
  if (!status) co_return unexpected(status.error(), failed_operation{"run pid", child.pid()});
  all.status = *status;
  co_return all;
}

}  // namespace

task<result<run_output>> run(command what, run_options o) {
  if (o.input.is() == child_stream::kind::pipe) {
    throw std::system_error(EINVAL, std::system_category(), "kedge::run: a pipe as input");
  }
  process_options options;
  options.input = o.input;
  options.output = options.error = pipe;
  options.environment = o.environment;
  options.directory = o.directory;
  options.user = o.user;
  options.new_group = true;
  process child(*loop::current(), std::move(what), options);
  auto end = co_await attempt(follow(child, o.limit));
  if (end.cancelled()) {
    const auto ended = co_await shield(child.terminate(o.grace));
    static_cast<void>(ended);
    co_await yield();  // ends here: the run is cancelled
  }
  co_return std::move(end).value();
}

}  // namespace kedge
