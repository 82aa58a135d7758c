// Implements receive_right with mach_port_construct(), mach_port_guard(), mach_port_destruct() and
// mach_port_set_attributes().
#include "kedge/mach/receive_right.h"

#include <mach/notify.h>

#include <atomic>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/misuse.h"
#include "kedge/mach/notification_request.h"
#include "kedge/mach/port_reference.h"
#include "kedge/mach/port_source.h"
#include "kedge/mach/port_status.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reference_counts.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/space_notifications.h"

namespace kedge::mach {
namespace {

// Returns a guard that none of the last 2^32 rights of this process has. Its upper half identifies
// it in the report of a guard exception, and in a snapshot.
mach_port_context_t fresh_guard(pooled_port use = pooled_port::none) noexcept {
  static std::atomic<std::uint32_t> count{0};
  return (std::uint64_t{static_cast<std::uint32_t>(use)} << 32) + ++count;
}

// To the kernel a limit of 0 means that every send blocks, for ever.
void check_limit(mach_port_msgcount_t limit) {
  if (limit == 0) check(KERN_INVALID_VALUE, "kedge::mach::receive_right: a queue limit of 0");
}

// Owns a port_source until a right takes it over.
struct unused_source {
  port_source* source = new port_source(MACH_PORT_NULL);
  unused_source() = default;
  unused_source(const unused_source&) = delete;
  unused_source& operator=(const unused_source&) = delete;
  ~unused_source() {
    if (source != nullptr) source->release();
  }
};

}  // namespace

receive_right receive_right::make(mach_port_msgcount_t queue_limit, const place& where) {
  check_limit(queue_limit);
  return make(fresh_guard(), queue_limit, where);
}

receive_right receive_right::make_pooled(pooled_port use, mach_port_msgcount_t queue_limit) {
  return make(fresh_guard(use), queue_limit, place());
}

receive_right receive_right::make(mach_port_context_t guard, mach_port_msgcount_t queue_limit,
                                  const place& where) {
  unused_source made;
  receive_right right;
  right.guard_ = guard;
  mach_port_options_t options{};
  options.flags = MPO_CONTEXT_AS_GUARD | MPO_STRICT | MPO_QLIMIT;
  options.mpl.mpl_qlimit = queue_limit;
  mach_port_name_t name = MACH_PORT_NULL;
  check(mach_port_construct(mach_task_self(), &options, right.guard_, &name),
        "mach_port_construct");
  made.source->open(name);
  ledger::record(ledger::kind::receive, made.source->space(), name, where);
  right.source_ = std::exchange(made.source, nullptr);
  return right;
}

receive_right receive_right::adopt(mach_port_name_t name, const place& where) {
  if (!MACH_PORT_VALID(name)) return {};
  port_status status;
  check(read_status(name, status), "mach_port_get_attributes");
  if (status.mps_pdrequest != 0) throw std::system_error(make_error_code(errc::revocable));
  return adopt_revocable(name, where);
}

receive_right receive_right::adopt_revocable(mach_port_name_t name, const place& where) {
  receive_right right;
  if (!MACH_PORT_VALID(name)) return right;
  unused_source made;
  right.guard_ = fresh_guard();
  check(mach_port_guard(mach_task_self(), name, right.guard_, /*strict=*/1), "mach_port_guard");
  made.source->open(name);
  ledger::record(ledger::kind::receive, made.source->space(), name, where);
  right.source_ = std::exchange(made.source, nullptr);
  return right;
}

receive_right receive_right::extract(mach_port_t task, mach_port_name_t name, const place& where) {
  unused_source made;
  receive_right right;
  right.guard_ = fresh_guard();
  mach_port_t extracted = MACH_PORT_NULL;
  mach_msg_type_name_t kind = 0;
  check(mach_port_extract_right(task, name, MACH_MSG_TYPE_MOVE_RECEIVE, &extracted, &kind),
        "mach_port_extract_right");
  const kern_return_t code =
      mach_port_guard(mach_task_self(), extracted, right.guard_, /*strict=*/1);
  if (code != KERN_SUCCESS) {
    mach_port_mod_refs(mach_task_self(), extracted, MACH_PORT_RIGHT_RECEIVE, -1);
    check(code, "mach_port_guard");
  }
  made.source->open(extracted);
  ledger::record(ledger::kind::receive, made.source->space(), extracted, where);
  right.source_ = std::exchange(made.source, nullptr);
  return right;
}

receive_right::receive_right(receive_right&& other) noexcept
    : source_(std::exchange(other.source_, nullptr)), guard_(other.guard_) {}

receive_right& receive_right::operator=(receive_right&& other) noexcept {
  if (this != &other) {
    destroy();
    source_ = std::exchange(other.source_, nullptr);
    guard_ = other.guard_;
  }
  return *this;
}

mach_port_name_t receive_right::name() const noexcept {
  return source_ != nullptr ? source_->name() : mach_port_name_t{MACH_PORT_NULL};
}

std::uint32_t receive_right::space() const noexcept {
  return source_ != nullptr ? source_->space() : 0;
}

mach_port_name_t receive_right::release() && noexcept {
  if (source_ == nullptr) return MACH_PORT_NULL;
  const mach_port_name_t name = source_->name();
  const bool is_here = source_->space() == space_incarnation();
  if (is_here && source_->senders_awaited) {
    // Withdraws the no-senders request, which would stay armed at the right's next owner.
    static_cast<void>(remove_request(name, MACH_NOTIFY_NO_SENDERS));
  }
  ledger::erase(ledger::kind::receive, source_->space(), name);
  source_->close();
  std::exchange(source_, nullptr)->release();
  if (!is_here) return MACH_PORT_NULL;
  mach_port_unguard(mach_task_self(), name, guard_);
  return name;
}

void receive_right::destroy() noexcept {
  if (source_ == nullptr) return;
  const mach_port_name_t name = source_->name();
  const std::uint32_t space = source_->space();
  ledger::erase(ledger::kind::receive, source_->space(), name);
  source_->close();
  std::exchange(source_, nullptr)->release();
  if (space == space_incarnation()) {
    report_release("a receive right", name, mach_port_destruct(mach_task_self(), name, 0, guard_));
  } else {
    report_other_space("a receive right", name, space);
  }
}

mach_port_name_t receive_right::usable(const char* what) const {
  return port_source::usable_name(source_, "right", what);
}

send_right receive_right::make_send(const place& where) const {
  const mach_port_name_t name = usable("receive_right::make_send");
  if (reference_counts::add(source_->space(), name)) return send_right(source_->space(), name);
  check(mach_port_insert_right(mach_task_self(), name, name, MACH_MSG_TYPE_MAKE_SEND),
        "mach_port_insert_right");
  return port_reference(name).to_send_right(where);
}

send_once_right receive_right::make_send_once(const place& where) const {
  mach_port_t made = MACH_PORT_NULL;
  mach_msg_type_name_t kind = 0;
  check(mach_port_extract_right(mach_task_self(), usable("receive_right::make_send_once"),
                                MACH_MSG_TYPE_MAKE_SEND_ONCE, &made, &kind),
        "mach_port_extract_right");
  return send_once_right::adopt(made, where);
}

port_status receive_right::status() const {
  port_status status;
  check(read_status(usable("receive_right::status"), status), "mach_port_get_attributes");
  return status;
}

void receive_right::set_queue_limit(mach_port_msgcount_t limit) {
  check_limit(limit);
  static_assert(sizeof(mach_port_limits_t) == sizeof limit);
  set_attribute(MACH_PORT_LIMITS_INFO, &limit, MACH_PORT_LIMITS_INFO_COUNT,
                "receive_right::set_queue_limit");
  // The kernel does not notify of room that comes this way.
  space_notifications::retry_room(name());
}

void receive_right::accept_importance() {
  set_attribute(MACH_PORT_IMPORTANCE_RECEIVER, nullptr, 0, "receive_right::accept_importance");
}

void receive_right::set_temporary_owner() {
  set_attribute(MACH_PORT_TEMPOWNER, nullptr, 0, "receive_right::set_temporary_owner");
}

std::uint32_t receive_right::request_slots() const {
  integer_t slots = 0;
  mach_msg_type_number_t count = MACH_PORT_DNREQUESTS_SIZE_COUNT;
  check(mach_port_get_attributes(mach_task_self(), usable("receive_right::request_slots"),
                                 MACH_PORT_DNREQUESTS_SIZE, &slots, &count),
        "mach_port_get_attributes");
  return static_cast<std::uint32_t>(slots);
}

void receive_right::reserve_request_slots(std::uint32_t count) {
  set_attribute(MACH_PORT_DNREQUESTS_SIZE, &count, MACH_PORT_DNREQUESTS_SIZE_COUNT,
                "receive_right::reserve_request_slots");
}

void receive_right::set_attribute(mach_port_flavor_t flavor, std::uint32_t* words,
                                  mach_msg_type_number_t count, const char* what) {
  check(mach_port_set_attributes(mach_task_self(), usable(what), flavor,
                                 reinterpret_cast<mach_port_info_t>(words), count),
        "mach_port_set_attributes");
}

receive_losses receive_right::losses() const noexcept {
  return source_ != nullptr ? source_->losses() : receive_losses();
}

}  // namespace kedge::mach
