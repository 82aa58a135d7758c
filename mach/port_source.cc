// Implements port_source.
#include "kedge/mach/port_source.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "kedge/mach/current_space.h"
#include "kedge/mach/port_registration.h"
#include "kedge/mach/port_status.h"
#include "kedge/mach/set_members.h"
#include "kedge/mach/try_receive.h"

namespace kedge::mach {
namespace {

void check_spaces(const reactor& r, std::uint32_t space) {
  if (space != space_incarnation()) {
    throw std::logic_error("kedge::mach: this port belongs to another space than the current one");
  }
  check_space(r);
}

bool can_bring_message(const port_status& status) noexcept {
  return status.has_senders() || status.send_once_rights() != 0 || status.messages() != 0;
}

}  // namespace

mach_port_name_t port_source::usable_name(const port_source* source, const char* noun,
                                          const char* what) {
  const auto refuse = [&](const char* why) {
    throw std::logic_error(std::string("kedge::mach::") + what + ": the " + noun + why);
  };
  if (source == nullptr) refuse(" is empty");
  if (source->space() != space_incarnation())
    refuse(" belongs to another space than the current one");
  return source->name();
}

port_source::~port_source() {
  replace_registered(nullptr, nullptr, kedge::errc::closed);
}

std::error_code port_source::link(port_receiver& by, reactor& r) {
  std::error_code error;
  // The kernel may have refused the registration to an earlier wait. Then this wait tries again.
  for (bool is_second = false;; is_second = true) {
    const mach_port_name_t here = name();
    if (here == MACH_PORT_NULL) return kedge::errc::closed;
    if (is_second || registration_in(r) == nullptr) {
      check_spaces(r, space_);
      // First: a refused registration is forgotten with its last hold.
      replace_registered(nullptr, nullptr, kedge::errc::closed);
      port_registration::close_ended(r);
      replace_registered(new port_registration(r, here), r.registrations().get(),
                         kedge::errc::closed);
    }
    {
      const std::lock_guard hold(lock_);
      // Another thread may have closed the source meanwhile. What it ends goes on this thread,
      // later.
      port_registration* const at = registered_.load();
      if (at == nullptr || name() == MACH_PORT_NULL) return kedge::errc::closed;
      error = at->link();
      if (!error) at->begin(by);
    }
    if (!error || error.category() != std::system_category() || is_second) return error;
  }
}

mach_msg_return_t port_source::take(received& into, const wanted_message& wanted) noexcept {
  return take_fast(into, wanted).code;
}

// What follows from a try to receive, with `code`, but for a success without tags.
void port_source::finish_take(mach_msg_return_t code, received& into) noexcept {
  if (code == MACH_MSG_SUCCESS) {
    into.contents().tag =
        tags_->find(into.buffer_.header().msgh_local_port, into.trailer().msgh_context);
  } else if (is_loss(code)) {
    (code == MACH_RCV_TOO_LARGE ? too_large_ : unreadable_).fetch_add(1, std::memory_order_relaxed);
  }
}

bool port_source::can_receive() noexcept {
  const mach_port_name_t last = waking_member_.load(std::memory_order_relaxed);
  port_status status;
  if (last != MACH_PORT_NULL && read_status(last, status) == KERN_SUCCESS && status.is_in_set() &&
      can_bring_message(status)) {
    return true;
  }
  const mach_port_name_t here = name();
  if (read_status(here, status) == KERN_SUCCESS) return can_bring_message(status);
  const set_members members(here);
  if (!members) return true;
  const std::span names = members.names();
  const auto found = std::find_if(names.begin(), names.end(), [](auto member) {
    port_status each;
    return read_status(member, each) != KERN_SUCCESS || can_bring_message(each);
  });
  const bool is_found = found != names.end();
  waking_member_.store(is_found ? *found : mach_port_name_t{MACH_PORT_NULL},
                       std::memory_order_relaxed);
  return is_found;
}

void port_source::found_empty() noexcept {
  if (is_inherited()) return;
  const std::lock_guard hold(lock_);
  port_registration* const at = registered_.load();
  if (at != nullptr && at->is_open()) at->clear();
}

void port_source::close(std::error_code why) noexcept {
  open(MACH_PORT_NULL);
  replace_registered(nullptr, nullptr, why);
}

void port_source::replace_registered(port_registration* by, const registration_table* in,
                                     std::error_code why) noexcept {
  port_registration* former = nullptr;
  if (is_inherited()) {
    former = registered_.exchange(by);
  } else {
    const std::lock_guard hold(lock_);
    former = registered_.exchange(by);
    registered_in_.store(in, std::memory_order_release);
  }
  if (former != nullptr) former->end(why);
}

}  // namespace kedge::mach
