// Implements start_thread(): a new thread inherits the signal mask of the one that makes it.
#include "kedge/runtime/reactor/start_thread.h"

#include <signal.h>

#include <initializer_list>

namespace kedge {

int start_thread(pthread_t& thread, void* (*run)(void*), void* argument) noexcept {
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (const int fault : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}) {
    sigdelset(&blocked, fault);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const int error = pthread_create(&thread, nullptr, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace kedge
