// Implements notification_port with mach_port_request_notification().
#include "kedge/mach/notification_port.h"

#include <mach/notify.h>

#include <chrono>
#include <new>
#include <utility>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/error.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge::mach {
namespace {

constexpr std::size_t spare_watches = 8;
constexpr auto displaced_request_delay = std::chrono::milliseconds(10);

// The offset of the name in a notification's bytes: it follows the NDR record.
constexpr std::size_t name_offset = sizeof(NDR_record_t);

}  // namespace

void name_watch::push_back(waiter_queue& queue, name_waiter& waiter) noexcept {
  waiter.watch_ = this;
  waiter.queue_ = &queue;
  queue.push_back(waiter);
}

void name_watch::remove(name_waiter& waiter) noexcept {
  waiter.queue_->remove(waiter);
  waiter.watch_ = nullptr;
  waiter.queue_ = nullptr;
}

void name_waiter::leave() noexcept {
  if (watch_ == nullptr) return;
  name_watch& watch = *watch_;
  name_watch::remove(*this);
  watch.port_.advance(watch);
}

std::error_code name_waiter::request_room() noexcept {
  if (watch_->request_ == name_watch::request::room) return {};
  return watch_->port_.request(*watch_, name_watch::request::room);
}

notification_port::~notification_port() {
  fail_all(kedge::errc::loop_gone);
  if (!source_ || reactor_.registrations()->closed()) return;
  // A notification that has not been received may own a reference to a dead name.
  received m;
  while (source_->take(m) == MACH_MSG_SUCCESS) handle(m);
}

bool notification_port::has_room_waiters(mach_port_name_t name) const noexcept {
  if (watches_.empty()) return false;
  const auto found = watches_.find(name);
  return found != watches_.end() && !found->second.for_room_.empty();
}

void notification_port::wait_for_room(mach_port_name_t name, name_waiter& waiter) {
  name_watch& target = watch(name);
  target.push_back(target.for_room_, waiter);
}

void notification_port::wait_for_death(mach_port_name_t name, name_waiter& waiter) {
  name_watch& target = watch(name);
  target.push_back(target.for_death_, waiter);
  if (target.dead_) {
    notify_all(target.for_death_, {});
  } else {
    advance(target);
  }
}

// Makes the port, on the first watch. Links it again if the kernel has refused its registration.
void notification_port::open() {
  if (linked()) {
    if (has_unread_) take_all();
    return;
  }
  if (!port_) {
    spare_.reserve(spare_watches);
    port_ = receive_right::make();
    source_ = port_source_hold(port_.source_);
  }
  if (const std::error_code error = source_->link(*this, reactor_)) {
    throw std::system_error(error, "kedge::mach::notification_port");
  }
}

// Finds or makes the watch of `name`.
name_watch& notification_port::watch(mach_port_name_t name) {
  open();
  if (const auto found = watches_.find(name); found != watches_.end()) return found->second;
  if (spare_.empty()) return watches_.try_emplace(name, *this, name).first->second;
  table::node_type node = std::move(spare_.back());
  spare_.pop_back();
  node.key() = node.mapped().name_ = name;
  return watches_.insert(std::move(node)).position->second;
}

// Takes a watch without waiters out of the table.
void notification_port::retire(name_watch& watch) noexcept {
  withdraw_request(watch);
  watch.dead_ = false;
  table::node_type node = watches_.extract(watch.name_);
  if (spare_.size() < spare_watches) spare_.push_back(std::move(node));
}

std::error_code notification_port::request(name_watch& watch, name_watch::request kind) noexcept {
  // With sync set the kernel notifies at once if there is room. Without it the kernel notifies only
  // after a send has found the queue full with MACH_SEND_NOTIFY, which this library never sets.
  const mach_port_mscount_t sync = kind == name_watch::request::room ? 1 : 0;
  mach_port_t previous = MACH_PORT_NULL;
  const kern_return_t code =
      mach_port_request_notification(mach_task_self(), watch.name_, MACH_NOTIFY_SEND_POSSIBLE, sync,
                                     port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  if (code != KERN_SUCCESS) return kern_error(code);
  ++rights_outstanding_;
  if (watch.request_ == name_watch::request::none) ++requests_;
  watch.request_ = kind;
  // Destroys the displaced right, this loop's or another's. The kernel notifies its port.
  static_cast<void>(send_once_right::adopt(previous));
  return {};
}

void notification_port::withdraw_request(name_watch& watch) noexcept {
  if (watch.request_ == name_watch::request::none) return;
  remove_request(watch.name_);
  watch.request_ = name_watch::request::none;
  --requests_;
}

void notification_port::remove_request(mach_port_name_t name) noexcept {
  mach_port_t previous = MACH_PORT_NULL;
  mach_port_request_notification(mach_task_self(), name, MACH_NOTIFY_SEND_POSSIBLE, 0,
                                 MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  static_cast<void>(send_once_right::adopt(previous));
}

void notification_port::advance(name_watch& watch) noexcept {
  if (name_waiter* const first = watch.for_room_.front()) {
    if (watch.request_ != name_watch::request::room) first->on_notified({});
  } else if (watch.for_death_.empty()) {
    retire(watch);
  } else if (watch.request_ == name_watch::request::none) {
    if (const std::error_code error = request(watch, name_watch::request::death)) {
      fail(watch, error);
    }
  }
}

void notification_port::notify_all(waiter_queue& queue, std::error_code error) noexcept {
  while (name_waiter* const waiter = queue.front()) {
    name_watch::remove(*waiter);
    waiter->on_notified(error);
  }
}

// Ends all waits for one name.
void notification_port::fail(name_watch& watch, std::error_code why) noexcept {
  notify_all(watch.for_room_, why);
  notify_all(watch.for_death_, why);
  advance(watch);
}

void notification_port::fail_all(std::error_code why) noexcept {
  while (!watches_.empty()) fail(watches_.begin()->second, why);
}

void notification_port::notify(const kevent64_s&) noexcept {
  take_all();
}

void notification_port::take_all() noexcept {
  received m;
  mach_msg_return_t code;
  while ((code = source_->take(m)) == MACH_MSG_SUCCESS) handle(m);
  // Without memory the notification stays queued, and there is no further event. The next wait
  // takes it.
  has_unread_ = code == KERN_RESOURCE_SHORTAGE;
  if (has_unread_) fail_all(msg_error(code));
  detect_displaced_requests();
}

void notification_port::closed(std::error_code why) noexcept {
  fail_all(why);
}

void notification_port::handle(const received& m) noexcept {
  if (!m.from_kernel()) return;
  const mach_msg_id_t id = m.id();
  if (id != MACH_NOTIFY_SEND_POSSIBLE && id != MACH_NOTIFY_DEAD_NAME &&
      id != MACH_NOTIFY_PORT_DELETED && id != MACH_NOTIFY_SEND_ONCE) {
    return;
  }
  if (rights_outstanding_ != 0) --rights_outstanding_;
  if (id == MACH_NOTIFY_SEND_ONCE) return;
  const auto name = m.read<mach_port_name_t>(name_offset).value_or(MACH_PORT_NULL);
  // A dead-name notification carries a user reference to the name, which must be released even if
  // no operation watches the name any more.
  if (id == MACH_NOTIFY_DEAD_NAME) static_cast<void>(dead_name::adopt(name));

  const auto found = watches_.find(name);
  if (found == watches_.end()) return;
  name_watch& watch = found->second;
  if (watch.request_ != name_watch::request::none) --requests_;
  watch.request_ = name_watch::request::none;
  // The kernel keeps a request that has notified of room. If the port dies with a receive right of
  // this space, the dead name then gets a reference that no notification hands out.
  if (id == MACH_NOTIFY_SEND_POSSIBLE) remove_request(name);
  if (id == MACH_NOTIFY_PORT_DELETED) {
    fail(watch, kedge::errc::closed);
  } else {
    if (id == MACH_NOTIFY_DEAD_NAME) {
      watch.dead_ = true;
      notify_all(watch.for_death_, {});
    }
    advance(watch);
  }
}

// Each request has one right in the kernel. With fewer rights than requests, another loop has
// displaced a request.
void notification_port::detect_displaced_requests() noexcept {
  if (rights_outstanding_ >= requests_ || armed()) return;
  try {
    reactor_.timers().arm(*this, clock::sum(reactor_.now(), displaced_request_delay));
  } catch (const std::bad_alloc&) {
    expire();
  }
}

// Makes all requests again.
void notification_port::expire() noexcept {
  for (auto at = watches_.begin(); at != watches_.end();) {
    name_watch& watch = (at++)->second;
    if (watch.request_ == name_watch::request::none) continue;
    watch.request_ = name_watch::request::none;
    --requests_;
    advance(watch);
  }
}

}  // namespace kedge::mach
