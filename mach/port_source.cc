// Implements port_source.
#include "kedge/mach/port_source.h"

#include <stdexcept>

#include "kedge/mach/current_space.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/remote.h"

namespace kedge::mach {
namespace {

void check_spaces(const reactor& r, std::uint32_t space) {
  if (space != space_incarnation()) {
    throw std::logic_error("kedge::mach: this port belongs to another space than the current one");
  }
  check_space(r);
}

}  // namespace

// The registration with one loop. Its own post removes it there.
class port_source::registered final : private remote::work {
 public:
  registered(reactor& r, mach_port_name_t name)
      : in_loop(r, sharing::exclusive, EVFILT_MACHPORT, name),
        table_(r.registrations()),
        loop_(r.get_remote()) {}

  bool is_in(reactor& r) const noexcept { return table_ == r.registrations(); }

  // Closes the registration with `why`, on its loop's thread, and deletes this object.
  void end(std::error_code why) noexcept {
    why_ = why;
    reactor* const driven = reactor::current();
    if ((driven != nullptr && is_in(*driven)) || !loop_.post(*this)) {
      run();
    }
  }

  registration in_loop;

 private:
  ~registered() = default;
  void run() noexcept override {
    in_loop.close(why_);
    delete this;
  }
  void drop() noexcept override { run(); }

  const std::shared_ptr<registration_table> table_;
  const weak_remote loop_;
  std::error_code why_;
};

port_source::~port_source() {
  leave_loop(kedge::errc::closed);
}

std::error_code port_source::link(listener& l, reactor& r) {
  registered* at = registered_.load();
  if (at == nullptr || !at->is_in(r)) {
    const mach_port_name_t here = name();
    if (here == MACH_PORT_NULL) return kedge::errc::closed;
    check_spaces(r, space_);
    at = new registered(r, here);
    if (registered* const former = registered_.exchange(at)) former->end(kedge::errc::closed);
  }
  // Another thread may have closed the source meanwhile; it has ended what it found then.
  if (name() == MACH_PORT_NULL) {
    leave_loop(kedge::errc::closed);
    return kedge::errc::closed;
  }
  const std::error_code error = at->in_loop.link(l);
  if (!error || error.category() != std::system_category()) return error;
  // The kernel has refused the registration to an earlier wait. This wait tries again.
  leave_loop(kedge::errc::closed);
  return link(l, r);
}

bool port_source::ready(reactor& r) const noexcept {
  const registered* const at = registered_.load(std::memory_order_relaxed);
  return at != nullptr && at->is_in(r) && at->in_loop.ready();
}

mach_msg_return_t port_source::take(received& into, std::size_t max) noexcept {
  const mach_port_name_t here = name();
  if (here == MACH_PORT_NULL) return MACH_RCV_INVALID_NAME;
  const mach_msg_return_t code = try_receive(here, expected_size_, into, max);
  if (code == MACH_MSG_SUCCESS && tags_ != nullptr) {
    into.tag_ = tags_->find(into.buffer_.header().msgh_local_port, into.trailer_.msgh_context);
  }
  if (is_loss(code)) {
    (code == MACH_RCV_TOO_LARGE ? too_large_ : unreadable_).fetch_add(1, std::memory_order_relaxed);
  }
  return code;
}

void port_source::found_empty() noexcept {
  registered* const at = registered_.load(std::memory_order_relaxed);
  if (at != nullptr && at->in_loop) at->in_loop.clear();
}

void port_source::close(std::error_code why) noexcept {
  open(MACH_PORT_NULL);
  leave_loop(why);
}

void port_source::leave_loop(std::error_code why) noexcept {
  if (registered* const at = registered_.exchange(nullptr)) at->end(why);
}

}  // namespace kedge::mach
