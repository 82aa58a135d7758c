// Implements port_set with mach_port_allocate(MACH_PORT_RIGHT_PORT_SET) and
// mach_port_insert_member().
#include "kedge/mach/port_set.h"

#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/member_tags.h"
#include "kedge/mach/misuse.h"
#include "kedge/mach/port_source.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

port_set port_set::make(const place& where) {
  port_set set;
  set.source_ = new port_source(MACH_PORT_NULL);
  mach_port_name_t name = MACH_PORT_NULL;
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &name),
        "mach_port_allocate");
  set.source_->open(name);
  ledger::record(ledger::kind::port_set, set.source_->space(), name, where);
  return set;
}

port_set port_set::adopt(mach_port_name_t name, const place& where) {
  port_set set;
  if (!MACH_PORT_VALID(name)) return set;
  set.source_ = new port_source(name);
  ledger::record(ledger::kind::port_set, set.source_->space(), name, where);
  return set;
}

port_set::port_set(port_set&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}

port_set& port_set::operator=(port_set&& other) noexcept {
  if (this != &other) {
    destroy();
    source_ = std::exchange(other.source_, nullptr);
  }
  return *this;
}

mach_port_name_t port_set::name() const noexcept {
  return source_ != nullptr ? source_->name() : mach_port_name_t{MACH_PORT_NULL};
}

mach_port_name_t port_set::release() && noexcept {
  if (source_ == nullptr) return MACH_PORT_NULL;
  const mach_port_name_t name = source_->name();
  const bool is_here = source_->space() == space_incarnation();
  if (!is_here) report_other_space("a port set", name, source_->space());
  ledger::erase(ledger::kind::port_set, source_->space(), name);
  source_->close();
  std::exchange(source_, nullptr)->release();
  return is_here ? name : mach_port_name_t{MACH_PORT_NULL};
}

void port_set::destroy() noexcept {
  const mach_port_name_t name = std::move(*this).release();
  if (name == MACH_PORT_NULL) return;
  report_release("a port set", name,
                 mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_PORT_SET, -1));
}

void port_set::insert(const receive_right& member, std::uint64_t tag) {
  const mach_port_name_t name = port_source::usable_name(source_, "set", "port_set::insert");
  const mach_port_name_t port = member.usable("port_set::insert");
  member_tags& tags = source_->tags();
  tags.reserve(name);
  check(mach_port_insert_member(mach_task_self(), port, name), "mach_port_insert_member");
  tags.set(port, member.guard_, tag);
}

void port_set::remove(const receive_right& member) {
  const mach_port_name_t name = port_source::usable_name(source_, "set", "port_set::remove");
  const mach_port_name_t port = member.usable("port_set::remove");
  member_tags& tags = source_->tags();
  check(mach_port_extract_member(mach_task_self(), port, name), "mach_port_extract_member");
  tags.erase(port);
  source_->forget_member(port);
}

receive_losses port_set::losses() const noexcept {
  return source_ != nullptr ? source_->losses() : receive_losses();
}

}  // namespace kedge::mach
