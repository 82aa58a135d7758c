// Implements semaphore_*().
#include <mach/mach.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/pending_call.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;

namespace {

constexpr std::uint64_t forever = kedge::mach::kernel::pending_call::forever;

kern_return_t wait(semaphore_t at, std::uint64_t nanoseconds) {
  return call(call_number::semaphore_wait, mach_task_self(), at, nanoseconds).result;
}

kern_return_t wait_signal(semaphore_t at, semaphore_t then, std::uint64_t nanoseconds) {
  return call(call_number::semaphore_wait_signal, mach_task_self(), at, nanoseconds, then).result;
}

std::uint64_t nanoseconds_of(mach_timespec_t time) {
  return std::uint64_t{time.tv_sec} * NSEC_PER_SEC + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

extern "C" {

kern_return_t semaphore_create(task_t task, semaphore_t* semaphore, int policy, int value) {
  const reply answer = call(call_number::semaphore_create, task, static_cast<std::uint32_t>(policy),
                            static_cast<std::uint32_t>(value));
  if (answer.result == KERN_SUCCESS) *semaphore = static_cast<semaphore_t>(answer.words[0]);
  return answer.result;
}

kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore) {
  return call(call_number::semaphore_destroy, task, semaphore).result;
}

kern_return_t semaphore_signal(semaphore_t semaphore) {
  return call(call_number::semaphore_signal, mach_task_self(), semaphore).result;
}

kern_return_t semaphore_signal_all(semaphore_t semaphore) {
  return call(call_number::semaphore_signal_all, mach_task_self(), semaphore).result;
}

kern_return_t semaphore_signal_thread(semaphore_t semaphore, thread_t thread) {
  return call(call_number::semaphore_signal_thread, mach_task_self(), semaphore, thread).result;
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
