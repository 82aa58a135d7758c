// Implements mig_*(), which MIG's stubs call.
#include <mach/mach.h>
#include <mach/mig.h>

#include <pthread.h>

#include <cstdint>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/base/process_state.h"

namespace {

using kedge::mach::kernel::current_task_guard;
using kedge::mach::kernel::task;
using kedge::mach::kernel::task_of_thread;

// The thread's reply ports, one for each task that the thread has been in.
class reply_ports {
 public:
  ~reply_ports() {
    for (const of_task& each : ports_) {
      const current_task_guard there(each.owner);
      end(each.port);
    }
  }

  mach_port_t get() {
    mach_port_t& port = find();
    if (port == MACH_PORT_NULL) {
      mach_port_options_t options{};
      options.flags = MPO_REPLY_PORT;
      mach_port_construct(mach_task_self(), &options, 0, &port);
    }
    return port;
  }
  // Destroys the port of the current task. Returns MACH_PORT_NULL if there was none.
  mach_port_t end() {
    mach_port_t& port = find();
    const mach_port_t ended = port;
    port = MACH_PORT_NULL;
    if (ended != MACH_PORT_NULL) end(ended);
    return ended;
  }
  void forget() { ports_.clear(); }

 private:
  struct of_task {
    task owner;
    mach_port_t port;
  };

  static void end(mach_port_t port) {
    mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
  }
  mach_port_t& find() {
    const task here = task_of_thread();
    for (of_task& each : ports_) {
      if (each.owner == here) return each.port;
    }
    ports_.push_back({here, MACH_PORT_NULL});
    return ports_.back().port;
  }

  std::vector<of_task> ports_;
};

thread_local reply_ports of_thread;
const kedge::base::process_state ports_of_process([] { return static_cast<void*>(&of_thread); },
                                                  sizeof of_thread);

// A fork's child has a new, empty space.
[[maybe_unused]] const int watch_forks =
    pthread_atfork(nullptr, nullptr, [] { of_thread.forget(); });

}  // namespace

extern "C" {

mach_port_t mig_get_reply_port(void) {
  return of_thread.get();
}

void mig_dealloc_reply_port(mach_port_t reply_port) {
  const mach_port_t ended = of_thread.end();
  if (ended != MACH_PORT_NULL && reply_port != ended) {
    mach_port_deallocate(mach_task_self(), reply_port);
  }
}

void mig_put_reply_port(mach_port_t) {}

void mig_reply_setup(mach_msg_header_t* request, mach_msg_header_t* reply) {
  auto& made = *reinterpret_cast<mig_reply_error_t*>(reply);
  made.Head = {};
  made.Head.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_LOCAL(request->msgh_bits), 0u);
  made.Head.msgh_size = sizeof made;
  made.Head.msgh_remote_port = request->msgh_local_port;
  made.Head.msgh_id = request->msgh_id + 100;
  made.NDR = NDR_record;
}

int mig_strncpy(char* dest, const char* src, int len) {
  if (len <= 0) return 0;
  for (int each = 0; each < len - 1; ++each) {
    dest[each] = src[each];
    if (src[each] == '\0') return each + 1;
  }
  dest[len - 1] = '\0';
  return len;
}

int mig_strncpy_zerofill(char* dest, const char* src, int len) {
  if (len <= 0 || !dest) return 0;
  const int copied = src ? mig_strncpy(dest, src, len) : 0;
  for (int each = copied; each < len; ++each) dest[each] = '\0';
  return copied;
}

void mig_allocate(vm_address_t* addr_p, vm_size_t size) {
  if (vm_allocate(mach_task_self(), addr_p, size, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) *addr_p = 0;
}

void mig_deallocate(vm_address_t addr, vm_size_t size) {
  vm_deallocate(mach_task_self(), addr, size);
}

}  // extern "C"
