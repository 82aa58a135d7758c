// Implements semaphore_*().
#include <mach/mach.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/pending_call.h"

using kedge::mach::kernel::call;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

namespace {

constexpr std::uint64_t forever = kedge::mach::kernel::pending_call::forever;

kern_return_t wait(semaphore_t at, std::uint64_t nanoseconds) {
  return call(requests::semaphore_wait{.timeout = nanoseconds, .name = at}).result;
}

kern_return_t wait_signal(semaphore_t at, semaphore_t to_signal, std::uint64_t nanoseconds) {
  return call(requests::semaphore_wait_signal{
                  .timeout = nanoseconds, .name = at, .signal = to_signal})
      .result;
}

std::uint64_t nanoseconds_of(mach_timespec_t time) {
  return std::uint64_t{time.tv_sec} * NSEC_PER_SEC + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

extern "C" {

kern_return_t semaphore_create(task_t task, semaphore_t* semaphore, int policy, int value) {
  return store(call(requests::semaphore_create{.policy = policy, .value = value}, task),
               &replies::semaphore_create::name, semaphore);
}

kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore) {
  return call(requests::semaphore_destroy{semaphore}, task).result;
}

kern_return_t semaphore_signal(semaphore_t semaphore) {
  return call(requests::semaphore_signal{semaphore}).result;
}

kern_return_t semaphore_signal_all(semaphore_t semaphore) {
  return call(requests::semaphore_signal_all{semaphore}).result;
}

kern_return_t semaphore_signal_thread(semaphore_t semaphore, thread_t thread) {
  return call(requests::semaphore_signal_thread{.name = semaphore, .thread = thread}).result;
}

kern_return_t semaphore_wait(semaphore_t semaphore) {
  return wait(semaphore, forever);
}

kern_return_t semaphore_timedwait(semaphore_t semaphore, mach_timespec_t wait_time) {
  if (BAD_MACH_TIMESPEC(&wait_time)) return KERN_INVALID_VALUE;
  return wait(semaphore, nanoseconds_of(wait_time));
}

kern_return_t semaphore_wait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore) {
  return wait_signal(wait_semaphore, signal_semaphore, forever);
}

kern_return_t semaphore_timedwait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore,
                                         mach_timespec_t wait_time) {
  if (BAD_MACH_TIMESPEC(&wait_time)) return KERN_INVALID_VALUE;
  return wait_signal(wait_semaphore, signal_semaphore, nanoseconds_of(wait_time));
}

}  // extern "C"
