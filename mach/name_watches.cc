// Implements name_watches over the notifications of the loop's space.
#include "kedge/mach/name_watches.h"

#include <stdexcept>
#include <utility>

#include "kedge/mach/current_space.h"
#include "kedge/mach/port_status.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge::mach {

name_watch::name_watch(mach_port_name_t name, name_watches& of) noexcept
    : name_interest(name, of), watches_(of) {}

void name_watch::push_back(waiter_queue& queue, name_waiter& waiter) noexcept {
  waiter.watch_ = this;
  waiter.queue_ = &queue;
  queue.push_back(waiter);
  if (&queue == &for_room_) name_watches::room_waiters_.fetch_add(1, std::memory_order_relaxed);
}

void name_watch::remove(name_waiter& waiter) noexcept {
  if (waiter.queue_ == &for_room_) {
    name_watches::room_waiters_.fetch_sub(1, std::memory_order_relaxed);
  }
  waiter.queue_->remove(waiter);
  waiter.watch_ = nullptr;
  waiter.queue_ = nullptr;
}

void name_waiter::leave_queue() noexcept {
  name_watch& watch = *watch_;
  watch.remove(*this);
  watch.watches_.advance(watch);
}

std::error_code name_waiter::request_room() noexcept {
  return watch_->watches_.request(*watch_, notice::room);
}

name_watches::~name_watches() {
  fail_all(kedge::errc::loop_gone);
  unlink();
  registration_.close();
  if (space_ != nullptr) space_->release();
}

void name_watches::wait_for_room(mach_port_name_t name, name_waiter& waiter) {
  name_watch& target = watch(name);
  target.push_back(target.for_room_, waiter);
}

void name_watches::wait_for_death(mach_port_name_t name, name_waiter& waiter) {
  name_watch& target = watch(name);
  if (!target.held_) {
    try {
      target.held_ = send_right::another(name);
    } catch (...) {
      advance(target);
      throw;
    }
  }
  target.push_back(target.for_death_, waiter);
  advance(target);
}

// Finds the space's notifications, on the first wait. Links the port if the loop has left it, or if
// the kernel has refused its registration.
void name_watches::open() {
  if (space_ == nullptr || !space_->is_current()) {
    check_space(reactor_);
    if (space_ != nullptr) throw std::logic_error("kedge::mach: this loop waits in another space");
    space_ = &space_notifications::acquire();
  }
  if (linked()) return;
  registration_.close();  // one that the kernel has refused would be found again
  registration_ = registration(reactor_, sharing::exclusive, EVFILT_MACHPORT, space_->port_name());
  if (const std::error_code error = registration_.link(*this)) {
    registration_.close();
    throw std::system_error(error, "kedge::mach: the port for notifications");
  }
}

// Finds or makes the watch of `name`.
name_watch& name_watches::watch(mach_port_name_t name) {
  open();
  if (name_watch* const found = watches_.find(name)) return *found;
  name_watch& made = watches_.find_or_make(name, *this);
  try {
    space_->add(made);
  } catch (...) {
    watches_.erase(name);
    throw;
  }
  return made;
}

bool name_watches::can_wake() const noexcept {
  return watches_.any_of([this](const name_watch& watch) { return !is_stuck(watch); });
}

// Returns true if all waiters wait for room in a full queue that only tasks of this loop drain. The
// loop was the last to receive from the port, alone and not in a set; so if a task of it would
// receive now, that wait would wake the loop.
bool name_watches::is_stuck(const name_watch& watch) const noexcept {
  const mach_port_name_t name = watch.name();
  if (!watch.for_death_.empty() || !reactor_.registrations()->is_held(EVFILT_MACHPORT, name)) {
    return false;
  }
  port_status status;
  return read_status(name, status) == KERN_SUCCESS && !status.is_in_set() &&
         status.messages() >= status.queue_limit();
}

// Takes a watch without waiters out of the table.
void name_watches::retire(name_watch& watch) noexcept {
  space_->remove(watch);
  watches_.erase(watch.name());
}

std::error_code name_watches::request(name_watch& watch, notice n) noexcept {
  if (watch.requested_ >= n) return {};
  const std::error_code error = space_->want(watch, n);
  if (!error) watch.requested_ = n;
  return error;
}

void name_watches::advance(name_watch& watch) noexcept {
  if (name_waiter* const first = watch.for_room_.front()) {
    if (watch.requested_ != notice::room) first->on_notified({});
  } else if (watch.for_death_.empty()) {
    retire(watch);
  } else if (watch.requested_ == notice::none) {
    if (const std::error_code error = request(watch, notice::death)) fail(watch, error);
  }
}

void name_watches::notify_all(name_watch& watch, waiter_queue& queue,
                              std::error_code error) noexcept {
  while (name_waiter* const waiter = queue.front()) {
    watch.remove(*waiter);
    waiter->on_notified(error);
  }
}

// Ends all waits for one name.
void name_watches::fail(name_watch& watch, std::error_code why) noexcept {
  notify_all(watch, watch.for_room_, why);
  notify_all(watch, watch.for_death_, why);
  advance(watch);
}

void name_watches::fail_all(std::error_code why) noexcept {
  while (!watches_.empty()) fail(watches_.any(), why);
}

// A loop that is woken by another loop's notification, and has no waits, leaves the port.
void name_watches::notify(const kevent64_s&) noexcept {
  space_->receive_for(*this);
  take_all();
  if (!watches_.empty()) return;
  unlink();
  registration_.close();
}

void name_watches::on_posted() noexcept {
  space_->take_post(*this);
  space_->receive_for(*this);
  take_all();
}

// Hands what the loop has been told to the waiters.
void name_watches::take_all() noexcept {
  told_notices told;
  while (name_interest* const interest = space_->take(*this, told)) {
    name_watch& watch = static_cast<name_watch&>(*interest);
    watch.requested_ = notice::none;
    if (told.error) {
      fail(watch, told.error);
      continue;
    }
    if (told.death) notify_all(watch, watch.for_death_, {});
    advance(watch);
  }
}

}  // namespace kedge::mach
