#include "kedge/mach/notification_port.h"

#include <mach/notify.h>

#include <chrono>
#include <new>
#include <utility>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/error.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/runtime/reactor/clock.h"

namespace kedge::mach {
namespace {

constexpr std::size_t spare_watches = 8;
constexpr auto displaced_request_delay = std::chrono::milliseconds(10);

// Where a notification about a name has it: after the NDR record.
constexpr std::size_t name_offset = sizeof(NDR_record_t);

}  // namespace

void waiter_queue::push_back(name_watch& watch, name_waiter& w) noexcept {
  w.watch_ = &watch;
  w.line_ = this;
  w.previous_ = last_;
  w.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &w;
  last_ = &w;
}

void waiter_queue::remove(name_waiter& w) noexcept {
  waiter_queue& line = *w.line_;
  (w.previous_ != nullptr ? w.previous_->next_ : line.first_) = w.next_;
  (w.next_ != nullptr ? w.next_->previous_ : line.last_) = w.previous_;
  w.watch_ = nullptr;
  w.line_ = nullptr;
  w.previous_ = w.next_ = nullptr;
}

void name_waiter::leave() noexcept {
  if (watch_ == nullptr) return;
  name_watch& left = *watch_;
  waiter_queue::remove(*this);
  left.port_.go_on(left);
}

std::error_code name_waiter::ask_for_room() noexcept {
  if (watch_->request_ == name_watch::request::room) return {};
  return watch_->port_.request(*watch_, name_watch::request::room);
}

notification_port::~notification_port() {
  end_all(kedge::errc::loop_gone);
}

bool notification_port::has_line_for_room(mach_port_name_t name) const noexcept {
  if (watches_.empty()) return false;
  const auto found = watches_.find(name);
  return found != watches_.end() && found->second.for_room_.first() != nullptr;
}

void notification_port::wait_for_room(mach_port_name_t name, name_waiter& w) {
  name_watch& target = watch(name);
  target.for_room_.push_back(target, w);
}

void notification_port::wait_for_death(mach_port_name_t name, name_waiter& w) {
  name_watch& target = watch(name);
  target.for_death_.push_back(target, w);
  if (target.dead_) {
    tell_all(target.for_death_, {});
  } else {
    go_on(target);
  }
}

// Makes the port with the first watch.
void notification_port::open() {
  if (port_) return;
  receive_right made = receive_right::make();
  source_ = port_source_hold(made.source_);
  if (const std::error_code error = source_->link(*this, reactor_)) {
    throw std::system_error(error, "kedge::mach::notification_port");
  }
  spare_.reserve(spare_watches);
  port_ = std::move(made);
}

name_watch& notification_port::watch(mach_port_name_t name) {
  open();
  if (const auto found = watches_.find(name); found != watches_.end()) return found->second;
  if (spare_.empty()) return watches_.try_emplace(name, *this, name).first->second;
  table::node_type node = std::move(spare_.back());
  spare_.pop_back();
  node.key() = node.mapped().name_ = name;
  return watches_.insert(std::move(node)).position->second;
}

// Nobody watches the name any more.
void notification_port::end(name_watch& w) noexcept {
  withdraw_request(w);
  w.dead_ = false;
  table::node_type node = watches_.extract(w.name_);
  if (spare_.size() < spare_watches) spare_.push_back(std::move(node));
}

std::error_code notification_port::request(name_watch& w, name_watch::request kind) noexcept {
  // With sync set it tells at once if there is room; else only after a send has found the queue
  // full, which here is never asked for.
  const mach_port_mscount_t sync = kind == name_watch::request::room ? 1 : 0;
  mach_port_t previous = MACH_PORT_NULL;
  const kern_return_t code =
      mach_port_request_notification(mach_task_self(), w.name_, MACH_NOTIFY_SEND_POSSIBLE, sync,
                                     port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  if (code != KERN_SUCCESS) return kern_error(code);
  ++rights_out_;
  if (w.request_ == name_watch::request::none) ++requests_;
  w.request_ = kind;
  // Ours, or another loop's; whose it is hears of its destruction.
  static_cast<void>(send_once_right::adopt(previous));
  return {};
}

void notification_port::withdraw_request(name_watch& w) noexcept {
  if (w.request_ == name_watch::request::none) return;
  mach_port_t previous = MACH_PORT_NULL;
  mach_port_request_notification(mach_task_self(), w.name_, MACH_NOTIFY_SEND_POSSIBLE, 0,
                                 MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  static_cast<void>(send_once_right::adopt(previous));
  w.request_ = name_watch::request::none;
  --requests_;
}

void notification_port::go_on(name_watch& w) noexcept {
  if (name_waiter* const head = w.for_room_.first()) {
    if (w.request_ != name_watch::request::room) head->told({});
  } else if (w.for_death_.first() == nullptr) {
    end(w);
  } else if (w.request_ == name_watch::request::none) {
    if (const std::error_code error = request(w, name_watch::request::death)) end(w, error);
  }
}

void notification_port::tell_all(waiter_queue& line, std::error_code error) noexcept {
  while (name_waiter* const w = line.first()) {
    waiter_queue::remove(*w);
    w->told(error);
  }
}

void notification_port::end(name_watch& w, std::error_code why) noexcept {
  tell_all(w.for_room_, why);
  tell_all(w.for_death_, why);
  go_on(w);
}

void notification_port::end_all(std::error_code why) noexcept {
  while (!watches_.empty()) end(watches_.begin()->second, why);
}

void notification_port::notify(const kevent64_s&) noexcept {
  received m;
  while (source_->take(m) == MACH_MSG_SUCCESS) handle(m);
  look_for_displaced();
}

void notification_port::closed(std::error_code why) noexcept {
  end_all(why);
}

void notification_port::handle(const received& m) noexcept {
  if (!m.from_kernel()) return;
  const mach_msg_id_t id = m.id();
  if (id != MACH_NOTIFY_SEND_POSSIBLE && id != MACH_NOTIFY_DEAD_NAME &&
      id != MACH_NOTIFY_PORT_DELETED && id != MACH_NOTIFY_SEND_ONCE) {
    return;
  }
  if (rights_out_ != 0) --rights_out_;
  if (id == MACH_NOTIFY_SEND_ONCE) return;
  const auto name = m.read<mach_port_name_t>(name_offset).value_or(MACH_PORT_NULL);
  // It comes with a user reference of its own, whether somebody watches the name still or not.
  if (id == MACH_NOTIFY_DEAD_NAME) static_cast<void>(dead_name::adopt(name));

  const auto found = watches_.find(name);
  if (found == watches_.end()) return;
  name_watch& w = found->second;
  if (w.request_ != name_watch::request::none) --requests_;
  w.request_ = name_watch::request::none;
  if (id == MACH_NOTIFY_PORT_DELETED) {
    end(w, kedge::errc::closed);
  } else {
    if (id == MACH_NOTIFY_DEAD_NAME) {
      w.dead_ = true;
      tell_all(w.for_death_, {});
    }
    go_on(w);
  }
}

// Every request has one right in the kernel, so with fewer rights than requests one is missing.
void notification_port::look_for_displaced() noexcept {
  if (rights_out_ >= requests_ || armed()) return;
  try {
    reactor_.timers().arm(*this, clock::after(displaced_request_delay));
  } catch (const std::bad_alloc&) {
    expire();
  }
}

void notification_port::expire() noexcept {
  for (auto at = watches_.begin(); at != watches_.end();) {
    name_watch& w = (at++)->second;
    if (w.request_ == name_watch::request::none) continue;
    w.request_ = name_watch::request::none;
    --requests_;
    go_on(w);
  }
}

}  // namespace kedge::mach
