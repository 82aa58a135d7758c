// Implements space_notifications with mach_port_request_notification(), and its registry.
#include "kedge/mach/space_notifications.h"

#include <mach/ndr.h>
#include <mach/notify.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/notification_request.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/errc.h"

namespace kedge::mach {
namespace {

constexpr mach_msg_option_t receive_options = MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_INTERRUPT |
                                              MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                                              MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);

// The offset of the name in a notification: it follows the NDR record.
constexpr std::size_t name_offset = sizeof(mach_msg_header_t) + sizeof(NDR_record_t);

// The sync argument of a request. With it the kernel notifies at once if there is room. Without it
// the kernel notifies of room only after a send has found the queue full with MACH_SEND_NOTIFY,
// which this library never sets.
mach_port_mscount_t sync_of(notice n) noexcept {
  return n == notice::room ? 1 : 0;
}

}  // namespace

// --- The loop ------------------------------------------------------------------------------------

void notified_loop::post::run() noexcept {
  const std::shared_ptr<post> keep = std::move(self);
  if (to != nullptr) to->on_posted();
}

void notified_loop::post::drop() noexcept {
  const std::shared_ptr<post> keep = std::move(self);
}

// --- The registry --------------------------------------------------------------------------------

// The notifications of the spaces of this process. A forked child makes a registry of its own: the
// lock of its parent's may be held for ever there.
struct space_notifications::registry {
  const unsigned generation = fork_generation();
  registry* of_parent = nullptr;  // keeps what the child leaves as it is reachable
  base::mutex lock;
  space_notifications* first = nullptr;
};

space_notifications::registry& space_notifications::registry_of_process() {
  static constinit std::atomic<registry*> current{nullptr};
  registry* found = current.load(std::memory_order_acquire);
  while (found == nullptr || found->generation != fork_generation()) {
    const base::outside_heap shared;
    auto made = std::make_unique<registry>();
    made->of_parent = found;
    if (current.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) {
      return *made.release();
    }
  }
  return *found;
}

// Requires the registry's lock.
space_notifications* space_notifications::find_in(registry& r) noexcept {
  const std::uint32_t wanted = space_incarnation();
  space_notifications* found = r.first;
  while (found != nullptr && found->incarnation_ != wanted) found = found->next_;
  return found;
}

space_notifications& space_notifications::acquire() {
  registry& r = registry_of_process();
  const std::lock_guard hold(r.lock);
  if (space_notifications* const found = find_in(r)) {
    ++found->loops_;
    return *found;
  }
  auto* const made = new space_notifications;
  made->next_ = std::exchange(r.first, made);
  return *made;
}

void space_notifications::release() noexcept {
  if (is_inherited()) return;
  registry& r = registry_of_process();
  const std::lock_guard hold(r.lock);
  if (--loops_ != 0) return;
  space_notifications** at = &r.first;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
  delete this;
}

void space_notifications::forget(std::uint32_t space) noexcept {
  try {
    registry& r = registry_of_process();
    const std::lock_guard hold(r.lock);
    space_notifications** at = &r.first;
    while (*at != nullptr) {
      if ((*at)->incarnation_ == space) {
        *at = (*at)->next_;
      } else {
        at = &(*at)->next_;
      }
    }
  } catch (const std::bad_alloc&) {
    // No registry: nothing to forget.
  }
}

space_notifications::space_notifications()
    : incarnation_(space_incarnation()),
      port_(receive_right::make_pooled(pooled_port::notifications, MACH_PORT_QLIMIT_DEFAULT)) {}

space_notifications::~space_notifications() {
  const kernel::current_task_guard within(task_);
  // A notification that has not been received may own a reference to a dead name.
  while (receive_one() == MACH_MSG_SUCCESS) handle_received();
  port_.destroy();
}

bool space_notifications::is_current() const noexcept {
  return !is_inherited() && incarnation_ == space_incarnation();
}

void space_notifications::retry_room(mach_port_name_t name) noexcept {
  try {
    registry& r = registry_of_process();
    const std::lock_guard hold(r.lock);
    space_notifications* const found = find_in(r);
    if (found == nullptr) return;
    const std::lock_guard hold_requests(found->lock_);
    if (name_request* const request = found->requests_.find(name)) {
      found->tell(*request, notice::room, [](told_notices& told) { told.room = true; });
    }
  } catch (const std::bad_alloc&) {
    // No registry: no loop waits.
  }
}

// --- Interests -----------------------------------------------------------------------------------

void space_notifications::add(name_interest& i) {
  const std::lock_guard hold(lock_);
  name_request& r = requests_.find_or_make(i.name_);
  r.interests_.push_back(i);
  i.request_ = &r;
}

void space_notifications::remove(name_interest& i) noexcept {
  if (is_inherited()) return;
  const kernel::current_task_guard within(task_);
  const std::lock_guard hold(lock_);
  name_request& r = *std::exchange(i.request_, nullptr);
  r.interests_.remove(i);
  if (i.of_told_.is_linked()) i.loop_.told_.remove(i);
  if (!r.interests_.empty()) return;
  disarm(r);
  requests_.erase(i.name_);
}

std::error_code space_notifications::want(name_interest& i, notice n) noexcept {
  if (is_inherited()) return kedge::errc::loop_gone;
  const kernel::current_task_guard within(task_);
  const std::lock_guard hold(lock_);
  if (i.wanted_ >= n) return {};
  if (i.request_->armed_ < n) {
    if (const std::error_code error = arm(*i.request_, n)) return error;
  }
  i.wanted_ = n;
  return {};
}

notice name_request::wanted() const noexcept {
  notice most = notice::none;
  for (const name_interest* i = interests_.front(); i != nullptr;
       i = interest_list::after(const_cast<name_interest&>(*i))) {
    most = std::max(most, i->wanted_);
  }
  return most;
}

// Tells the loops that want `at_least`. `told` notes what they are told.
template <class Told>
void space_notifications::tell(name_request& r, notice at_least, Told told) noexcept {
  for (name_interest* i = r.interests_.front(); i != nullptr;
       i = name_request::interest_list::after(*i)) {
    if (i->wanted_ < at_least) continue;
    i->wanted_ = notice::none;
    told(i->told_);
    notified_loop& l = i->loop_;
    if (!i->of_told_.is_linked()) l.told_.push_back(*i);
    if (&l != receiver_) post_to(l);
  }
}

void space_notifications::post_to(notified_loop& l) noexcept {
  if (std::exchange(l.is_posted_, true)) return;
  l.post_->self = l.post_;
  if (l.to_.post(*l.post_)) return;
  // The loop ends, and takes nothing any more.
  l.post_->self.reset();
}

void space_notifications::take_post(notified_loop& own) noexcept {
  if (is_inherited()) return;
  const std::lock_guard hold(lock_);
  own.is_posted_ = false;
}

name_interest* space_notifications::take(notified_loop& own, told_notices& into) noexcept {
  if (is_inherited()) return nullptr;
  const std::lock_guard hold(lock_);
  name_interest* const i = own.told_.pop_front();
  if (i != nullptr) into = std::exchange(i->told_, {});
  return i;
}

// --- Requests ------------------------------------------------------------------------------------

std::error_code space_notifications::arm(name_request& r, notice n) noexcept {
  send_once_right previous;
  const kern_return_t code = replace_request(r.name_, MACH_NOTIFY_SEND_POSSIBLE, sync_of(n),
                                             port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE, previous);
  if (code != KERN_SUCCESS) return kern_error(code);
  keep_or_destroy(r, std::move(previous));
  r.armed_ = n;
  return {};
}

// Makes the request that the loops want, and tells them the error if the kernel refuses it.
void space_notifications::arm_as_wanted(name_request& r) noexcept {
  const notice wanted = r.wanted();
  if (wanted <= r.armed_) return;
  if (const std::error_code error = arm(r, wanted)) {
    const bool is_gone = error == kern_error(KERN_INVALID_NAME);
    const std::error_code why = is_gone ? make_error_code(kedge::errc::closed) : error;
    tell(r, notice::death, [why](told_notices& told) { told.error = why; });
  }
}

// Withdraws the request, if any, and registers again what it has displaced.
void space_notifications::disarm(name_request& r) noexcept {
  if (r.armed_ == notice::none) return;
  keep_or_destroy(r, remove_request(r.name_, MACH_NOTIFY_SEND_POSSIBLE));
  r.armed_ = notice::none;
  restore_displaced(r);
}

// `previous` was in the kernel's slot of the name. The kernel does not say whose it is. If the
// request is armed it is ours, unless another library has displaced ours.
void space_notifications::keep_or_destroy(name_request& r, send_once_right previous) noexcept {
  if (!previous) return;
  const bool may_be_other = r.armed_ == notice::none || arms_again_;
  if (may_be_other && !r.displaced_) {
    r.displaced_ = std::move(previous);
  } else {
    ++destroyed_here_;  // if it is ours, the kernel notifies
  }
}

// Requires that no request of ours is in the kernel's slot. If the kernel refuses, the right is
// destroyed and its owner notified of that.
void space_notifications::restore_displaced(name_request& r) noexcept {
  restore_request(r.name_, MACH_NOTIFY_SEND_POSSIBLE, std::move(r.displaced_));
}

// Another library has displaced a request of ours, of an unknown name.
void space_notifications::arm_all_again() noexcept {
  arms_again_ = true;
  requests_.for_each([this](name_request& r) {
    if (r.armed_ == notice::none) return;
    if (const std::error_code error = arm(r, r.armed_)) {
      r.armed_ = notice::none;
      tell(r, notice::death, [error](told_notices& told) { told.error = error; });
    }
  });
  arms_again_ = false;
}

// --- Notifications -------------------------------------------------------------------------------

void space_notifications::receive_for(notified_loop& own) noexcept {
  if (is_inherited()) return;
  const kernel::current_task_guard within(task_);
  const std::lock_guard hold(lock_);
  receiver_ = &own;
  const bool complete = receive_all();
  receiver_ = nullptr;
  if (!complete) post_to(own);
}

// Returns false if the kernel has stopped it. There is no further event for what is queued.
bool space_notifications::receive_all() noexcept {
  for (;;) {
    const mach_msg_return_t code = receive_one();
    if (code == MACH_MSG_SUCCESS) {
      handle_received();
    } else if (code == MACH_RCV_TIMED_OUT) {
      const bool displaced = destroyed_ > destroyed_here_;
      destroyed_ = destroyed_here_ = 0;
      if (!displaced) return true;
      arm_all_again();
    } else if (code != MACH_RCV_TOO_LARGE && code != MACH_RCV_HEADER_ERROR &&
               code != MACH_RCV_BODY_ERROR && code != MACH_RCV_INVALID_DATA) {
      const bool is_gone = code == MACH_RCV_INVALID_NAME || code == MACH_RCV_PORT_DIED ||
                           code == MACH_RCV_PORT_CHANGED;
      if (!is_gone) return false;
      // The task of the space has ended.
      requests_.for_each([this](name_request& r) {
        r.armed_ = notice::none;
        tell(r, notice::death, [](told_notices& told) { told.error = kedge::errc::closed; });
      });
      return true;
    }
  }
}

// Receives one message. With an error that is about a message, that message is gone.
mach_msg_return_t space_notifications::receive_one() noexcept {
  auto* const header = reinterpret_cast<mach_msg_header_t*>(received_);
  mach_msg_return_t code;
  do {
    code = mach_msg(header, receive_options, 0, sizeof received_, port_.name(), 0, MACH_PORT_NULL);
    code &= ~(MACH_MSG_IPC_SPACE | MACH_MSG_VM_SPACE | MACH_MSG_IPC_KERNEL | MACH_MSG_VM_KERNEL);
  } while (code == MACH_RCV_INTERRUPTED);
  return code;
}

bool space_notifications::is_from_kernel() const noexcept {
  constexpr security_token_t kernel = KERNEL_SECURITY_TOKEN_VALUE;
  constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;
  const auto* const header = reinterpret_cast<const mach_msg_header_t*>(received_);
  mach_msg_audit_trailer_t trailer;
  std::memcpy(&trailer, received_ + round_msg(header->msgh_size), sizeof trailer);
  return std::equal(std::begin(kernel.val), std::end(kernel.val),
                    std::begin(trailer.msgh_sender.val)) &&
         std::equal(std::begin(kernel_audit.val), std::end(kernel_audit.val),
                    std::begin(trailer.msgh_audit.val));
}

void space_notifications::handle_received() noexcept {
  const auto& header = *reinterpret_cast<const mach_msg_header_t*>(received_);
  if (!is_from_kernel()) {
    // A forged message. Without a descriptor, all that it can carry is a right to reply with.
    static_cast<void>(send_once_right::adopt(header.msgh_remote_port, place()));
    return;
  }
  const mach_msg_id_t id = header.msgh_id;
  if (id == MACH_NOTIFY_SEND_ONCE) ++destroyed_;
  if (id != MACH_NOTIFY_SEND_POSSIBLE && id != MACH_NOTIFY_DEAD_NAME &&
      id != MACH_NOTIFY_PORT_DELETED) {
    return;
  }
  mach_port_name_t name;
  std::memcpy(&name, received_ + name_offset, sizeof name);
  // A dead-name notification carries a user reference to the name, which must be released even if
  // no operation watches the name any more.
  if (id == MACH_NOTIFY_DEAD_NAME) mach_port_deallocate(mach_task_self(), name);
  if (name_request* const r = requests_.find(name)) handle(*r, id);
}

void space_notifications::handle(name_request& r, mach_msg_id_t id) noexcept {
  if (id == MACH_NOTIFY_DEAD_NAME) {
    r.armed_ = notice::none;
    restore_displaced(r);
    tell(r, notice::death, [](told_notices& told) { told.death = true; });
  } else {
    // The kernel keeps a request that has notified of room. If the port dies with a receive right
    // of this space, the dead name then gets a reference that no notification hands out.
    disarm(r);
    if (id == MACH_NOTIFY_SEND_POSSIBLE) {
      tell(r, notice::room, [](told_notices& told) { told.room = true; });
    }
  }
  // The name may have been deleted, and used again since. Then another notification is meant.
  arm_as_wanted(r);
}

}  // namespace kedge::mach
