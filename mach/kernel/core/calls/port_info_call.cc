// What a task can inspect of its names and of its ports (Darwin: mach_debug.c, and the calls on
// service ports in mach_port.c).
#include <mach_debug/ipc_info.h>

#include <mutex>
#include <vector>

#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

// Darwin's numbers of kernel objects (IKOT_* of ipc_kobject.h).
enum class ikot : std::uint32_t {
  none = 0,
  thread = 1,
  task = 2,
  host = 3,
  timer = 8,
  semaphore = 23,
  clock = 25,
  named_entry = 28,
  fileport = 34,
  voucher = 37,
};

// Launchd's bootstrap port is not a kernel object of Darwin's.
ikot kobject_type(kernel_object served) noexcept {
  switch (served) {
    case kernel_object::thread:
      return ikot::thread;
    case kernel_object::task:
      return ikot::task;
    case kernel_object::host:
      return ikot::host;
    case kernel_object::timer:
      return ikot::timer;
    case kernel_object::semaphore:
      return ikot::semaphore;
    case kernel_object::clock:
      return ikot::clock;
    case kernel_object::memory_entry:
      return ikot::named_entry;
    case kernel_object::file:
      return ikot::fileport;
    case kernel_object::voucher:
      return ikot::voucher;
    case kernel_object::none:
    case kernel_object::bootstrap:
      break;
  }
  return ikot::none;
}

// Returns a number for the object from which its address cannot be computed. It is never 0.
natural_t number_of(const object& of) noexcept {
  const auto bits = reinterpret_cast<std::uintptr_t>(&of) * 0x9e3779b97f4a7c15u;
  return static_cast<natural_t>(bits >> 32) | 1;
}

// Requires the space lock.
ipc_info_name_t info_of(std::uint32_t index, const entry& slot) noexcept {
  ipc_info_name_t info{};
  info.iin_name = index << 8 | slot.generation;
  info.iin_next = slot.type == MACH_PORT_TYPE_NONE ? slot.next : slot.request;
  info.iin_type = slot.type;
  info.iin_urefs = slot.urefs;
  if (slot.target) info.iin_object = number_of(*slot.target);
  if (slot.request != 0) {
    port& target = port_of(slot);
    const std::lock_guard hold(target.lock);
    info.iin_type |= type_of(target.requests[slot.request]);
  }
  return info;
}

}  // namespace

kern_return_t port_call::dnrequest_info(const requests::dnrequest_info& request,
                                        replies::dnrequest_info& reply) {
  const std::lock_guard hold(space_.lock);
  port* of = nullptr;
  const kern_return_t failed = find_receive_right(request.name, of, KERN_INVALID_NAME);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold_port(of->lock);
  reply.total = of->requests.size();
  for (std::uint32_t index = 1; index < reply.total; ++index) {
    if (of->requests[index].notify) ++reply.used;
  }
  return KERN_SUCCESS;
}

kern_return_t port_call::kobject(const requests::kobject& request, replies::kobject& reply) {
  const std::lock_guard hold(space_.lock);
  entry* const found = is_null_or_dead(request.name) ? nullptr : space_.find(request.name);
  if (!found || convert_if_dead(space_, request.name, *found)) return KERN_INVALID_NAME;
  if ((found->type & MACH_PORT_TYPE_SEND_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  reply.type = static_cast<natural_t>(kobject_type(port_of(*found).serves));
  return KERN_SUCCESS;
}

kern_return_t port_call::space_info(const requests::space_info& request,
                                    replies::space_info& reply) {
  const std::lock_guard hold(space_.lock);
  if (!space_.active) return KERN_INVALID_TASK;
  reply.count = space_.table_size();
  if (reply.count > request.table.size) return KERN_SUCCESS;
  std::vector<ipc_info_name_t> table(reply.count);
  for (std::uint32_t index = 1; index < reply.count; ++index) {
    table[index] = info_of(index, space_.slot_at(index));
  }
  table.front().iin_name = 0xff;  // of slot 0, which no name uses
  return memory_.out(table.data(), request.table.at, table.size() * sizeof table.front())
             ? KERN_SUCCESS
             : KERN_INVALID_ADDRESS;
}

kern_return_t port_call::space_basic_info(const requests::space_basic_info&,
                                          replies::space_basic_info& reply) {
  const std::lock_guard hold(space_.lock);
  if (!space_.active) return KERN_INVALID_TASK;
  reply.size = space_.table_size();
  space_.each([&](mach_port_name_t, const entry&) { ++reply.in_use; });
  return KERN_SUCCESS;
}

// Finds the receive right of a service, with a reference.
kern_return_t port_call::find_service_port(mach_port_name_t name, ref<port>& found) noexcept {
  const std::lock_guard hold(space_.lock);
  port* of = nullptr;
  const kern_return_t failed = find_receive_right(name, of, KERN_INVALID_RIGHT);
  if (failed != KERN_SUCCESS) return failed;
  if (!of->service) return KERN_INVALID_CAPABILITY;
  found = ref<port>(of);
  return KERN_SUCCESS;
}

kern_return_t port_call::service_port_info(const requests::service_port_info& request) {
  ref<port> of;
  const kern_return_t failed = find_service_port(request.name, of);
  if (failed != KERN_SUCCESS) return failed;
  mach_service_port_info_data_t info{};
  static_assert(sizeof info.mspi_string_name > name_server::max_length);
  // The name server takes its lock before that of a space.
  if (!cleanup_.owner.names().find_name(*of, info.mspi_string_name)) {
    return KERN_INVALID_CAPABILITY;
  }
  return memory_.out(&info, request.info, sizeof info) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

// A service has no label of a sandbox, so there is nothing to check of the connection.
kern_return_t port_call::connection_policy(const requests::connection_policy& request,
                                           replies::connection_policy&) {
  if (is_null_or_dead(request.connection) || is_null_or_dead(request.service)) {
    return KERN_INVALID_NAME;
  }
  ref<port> unused;
  return find_service_port(request.service, unused);
}

}  // namespace kedge::mach::kernel
