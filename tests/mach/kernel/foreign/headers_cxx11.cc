// The same headers in C++11, each of them first: none needs another.
#include <Availability.h>
#include <TargetConditionals.h>
#include <bootstrap_priv.h>
#include <mach/clock.h>
#include <mach/exception.h>
#include <mach/mach_time_private.h>
#include <mach/mk_timer.h>
#include <mach/task_info.h>
#include <mach/thread_act.h>
#include <mach/vm_param.h>
#include <mach/vm_statistics.h>

#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <os/availability.h>

#include <cstdint>
#include <cstdio>

namespace {

// A port right as such programs keep it.
class receive_right {
 public:
  explicit receive_right(mach_port_t name) : name_(name) {}
  receive_right(const receive_right&) = delete;
  receive_right& operator=(const receive_right&) = delete;
  ~receive_right() { mach_port_mod_refs(mach_task_self(), name_, MACH_PORT_RIGHT_RECEIVE, -1); }
  mach_port_t get() const { return name_; }

 private:
  const mach_port_t name_;
};

// As browsers share memory that exists already.
bool shares_memory() {
  mach_vm_address_t memory = 0, other = 0;
  if (mach_vm_allocate(mach_task_self(), &memory, PAGE_SIZE, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) {
    return false;
  }
  memory_object_size_t size = PAGE_SIZE;
  mach_port_t entry = MACH_PORT_NULL;
  if (mach_make_memory_entry_64(mach_task_self(), &size, memory,
                                VM_PROT_READ | VM_PROT_WRITE | MAP_MEM_VM_SHARE, &entry,
                                MACH_PORT_NULL) != KERN_SUCCESS) {
    return false;
  }
  if (mach_vm_map(mach_task_self(), &other, size, 0, VM_FLAGS_ANYWHERE, entry, 0, 0,
                  VM_PROT_READ | VM_PROT_WRITE, VM_PROT_READ | VM_PROT_WRITE,
                  VM_INHERIT_NONE) != KERN_SUCCESS) {
    return false;
  }
  *reinterpret_cast<char*>(memory) = 'x';
  return *reinterpret_cast<char*>(other) == 'x';
}

bool gets_timer_message() {
  const receive_right timer(mk_timer_create());
  struct {
    mk_timer_expire_msg_t message;
    mach_msg_trailer_t trailer;
  } buffer;
  return mk_timer_arm(timer.get(), mach_absolute_time()) == KERN_SUCCESS &&
         mach_msg(&buffer.message.header, MACH_RCV_MSG, 0, sizeof buffer, timer.get(),
                  MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL) == MACH_MSG_SUCCESS &&
         buffer.message.header.msgh_local_port == timer.get();
}

}  // namespace

int main() {
  const bool shares = shares_memory(), gets = gets_timer_message();
  if (!shares) std::puts("no shared memory");
  if (!gets) std::puts("no message of a timer");
  return shares && gets ? 0 : 1;
}
