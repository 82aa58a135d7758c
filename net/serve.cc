// serve(): the drain and the report.
#include "kedge/net/serve.h"

#include <new>
#include <sstream>

#include "kedge/runtime/error_line.h"
#include "kedge/runtime/loop.h"

namespace kedge::net {

void print_failure(const address& peer, const std::exception_ptr& failure) noexcept {
  const char* what = "an exception of an unknown type";
  try {
    const std::string from = peer.text();
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      print_error_line("kedge: connection of %s: %s\n", from.c_str(), e.what());
      return;
    } catch (...) {
      print_error_line("kedge: connection of %s: %s\n", from.c_str(), what);
    }
  } catch (...) {
    print_error_line("kedge: a connection has failed, and there is no memory to say why\n");
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
