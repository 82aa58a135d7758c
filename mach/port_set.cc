// Implements port_set with mach_port_allocate(MACH_PORT_RIGHT_PORT_SET) and
// mach_port_insert_member().
#include "kedge/mach/port_set.h"

#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/port_source.h"
#include "kedge/mach/receive.h"

namespace kedge::mach {

port_set port_set::make() {
  port_set set;
  set.source_ = new port_source(MACH_PORT_NULL);
  mach_port_name_t name = MACH_PORT_NULL;
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &name),
        "mach_port_allocate");
  set.source_->open(name);
  return set;
}

port_set port_set::adopt(mach_port_name_t name) {
  port_set set;
  if (MACH_PORT_VALID(name)) set.source_ = new port_source(name);
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
  source_->close();
  std::exchange(source_, nullptr)->release();
  return name;
}

void port_set::destroy() noexcept {
  const mach_port_name_t name = std::move(*this).release();
  if (name == MACH_PORT_NULL) return;
  mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_PORT_SET, -1);
}

void port_set::insert(const receive_right& member) {
  check(mach_port_insert_member(mach_task_self(), member.name(), name()),
        "mach_port_insert_member");
}

void port_set::remove(const receive_right& member) {
  check(mach_port_extract_member(mach_task_self(), member.name(), name()),
        "mach_port_extract_member");
}

receive_losses port_set::losses() const noexcept {
  return source_ != nullptr ? source_->losses() : receive_losses();
}

receive_awaitable port_set::receive() const noexcept {
  return receive_awaitable(source_);
}

}  // namespace kedge::mach
