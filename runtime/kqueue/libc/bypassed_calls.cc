// Tries whether calls of the program reach the definitions of this folder. Darwin has no
// counterpart: its kernel sees every call.

#include "kedge/runtime/kqueue/libc/bypassed_calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "kedge/runtime/kqueue/libc/call_probe.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// A call that is tried. `attempt` makes it by the given definition.
struct tried_call {
  const char* name;
  // The definition that the linker chose for this library. The reference also brings ours out of an
  // archive that was not linked as a whole.
  void* linked;
  void (*attempt)(void* definition) noexcept;
};

template <class Function>
Function* as(void* definition) noexcept {
  return reinterpret_cast<Function*>(definition);
}

template <class Function>
void* address(Function* function) noexcept {
  return reinterpret_cast<void*>(function);
}

void try_fclose(void* definition) noexcept {
  char byte = 0;
  FILE* const stream = fmemopen(&byte, 1, "r");
  if (stream == nullptr) {
    call_probe::note();  // no memory: not tried
    return;
  }
  as<decltype(fclose)>(definition)(stream);
}

void try_sigaction(void* definition) noexcept {
  struct sigaction now{};
  as<decltype(sigaction)>(definition)(SIGURG, nullptr, &now);
}

void try_sigtimedwait(void* definition) noexcept {
  sigset_t none;
  sigemptyset(&none);
  const timespec at_once{};
  as<decltype(sigtimedwait)>(definition)(&none, nullptr, &at_once);
}

// The set of signals that is added to the mask is empty.
void try_pthread_sigmask(void* definition) noexcept {
  sigset_t none;
  sigemptyset(&none);
  as<decltype(pthread_sigmask)>(definition)(SIG_BLOCK, &none, nullptr);
}

void try_sigprocmask(void* definition) noexcept {
  sigset_t none;
  sigemptyset(&none);
  as<decltype(sigprocmask)>(definition)(SIG_BLOCK, &none, nullptr);
}

void try_sigpending(void* definition) noexcept {
  sigset_t pending;
  as<decltype(sigpending)>(definition)(&pending);
}

void try_pselect(void* definition) noexcept {
  const timespec at_once{};
  as<decltype(pselect)>(definition)(0, nullptr, nullptr, nullptr, &at_once, nullptr);
}

void try_ppoll(void* definition) noexcept {
  const timespec at_once{};
  as<decltype(ppoll)>(definition)(nullptr, 0, &at_once, nullptr);
}

// There is no such epoll set: EBADF.
void try_epoll_pwait(void* definition) noexcept {
  epoll_event event{};
  as<decltype(epoll_pwait)>(definition)(-1, &event, 1, 0, nullptr);
}

void try_epoll_pwait2(void* definition) noexcept {
  epoll_event event{};
  const timespec at_once{};
  as<decltype(epoll_pwait2)>(definition)(-1, &event, 1, &at_once, nullptr);
}

// SIGKILL has no handler: EINVAL.
void try_signal(void* definition) noexcept {
  as<decltype(signal)>(definition)(SIGKILL, SIG_DFL);
}

// One line, cut where it is too long, for a single write.
class line {
 public:
  [[gnu::format(printf, 2, 3)]] void append(const char* format, ...) noexcept {
    va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(text_ + size_, sizeof text_ - size_, format, arguments);
    va_end(arguments);
    if (length > 0) size_ += static_cast<std::size_t>(length);
    if (size_ > sizeof text_ - 1) size_ = sizeof text_ - 1;
  }
  void write() noexcept {
    text_[size_] = '\n';  // in place of the terminating zero
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text_, size_ + 1);
  }

 private:
  char text_[1024];
  std::size_t size_ = 0;
};

// The file of the program or library that the definition is in.
const char* file_of(void* definition) noexcept {
  Dl_info info{};
  return dladdr(definition, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "?";
}

void try_all() noexcept {
  // Filled in here: a static constructor may make the first kqueue, before one of this file has
  // run.
  const tried_call tried_calls[] = {
      {"close", address(&close), [](void* d) noexcept { as<decltype(close)>(d)(-1); }},
      {"closefrom", address(&closefrom),
       [](void* d) noexcept { as<decltype(closefrom)>(d)(INT_MAX); }},
      {"close_range", address(&close_range),
       [](void* d) noexcept {
         as<decltype(close_range)>(d)(UINT_MAX, UINT_MAX, CLOSE_RANGE_CLOEXEC);
       }},
      {"dup", address(&dup), [](void* d) noexcept { as<decltype(dup)>(d)(-1); }},
      {"dup2", address(&dup2), [](void* d) noexcept { as<decltype(dup2)>(d)(-1, -1); }},
      {"dup3", address(&dup3), [](void* d) noexcept { as<decltype(dup3)>(d)(-1, -1, 0); }},
      {"fcntl", address(&fcntl), [](void* d) noexcept { as<decltype(fcntl)>(d)(-1, F_GETFD); }},
      {"fcntl64", address(&fcntl64),
       [](void* d) noexcept { as<decltype(fcntl64)>(d)(-1, F_GETFD); }},
      {"fclose", address(&fclose), try_fclose},
      {"shutdown", address(&shutdown),
       [](void* d) noexcept { as<decltype(shutdown)>(d)(-1, SHUT_RDWR); }},
      {"lseek", address(&lseek), [](void* d) noexcept { as<decltype(lseek)>(d)(-1, 0, SEEK_CUR); }},
      {"lseek64", address(&lseek64),
       [](void* d) noexcept { as<decltype(lseek64)>(d)(-1, 0, SEEK_CUR); }},
      {"sigaction", address<decltype(sigaction)>(&sigaction), try_sigaction},
      {"signal", address(&signal), try_signal},
      {"sysv_signal", address(&sysv_signal), try_signal},
      {"sigtimedwait", address(&sigtimedwait), try_sigtimedwait},
      {"pthread_sigmask", address(&pthread_sigmask), try_pthread_sigmask},
      {"sigprocmask", address(&sigprocmask), try_sigprocmask},
      {"sigpending", address(&sigpending), try_sigpending},
      {"pselect", address(&pselect), try_pselect},
      {"ppoll", address(&ppoll), try_ppoll},
      {"epoll_pwait", address(&epoll_pwait), try_epoll_pwait},
      {"epoll_pwait2", address(&epoll_pwait2), try_epoll_pwait2},
  };
  line report;
  const char* file = nullptr;  // of the call before
  for (const tried_call& tried : tried_calls) {
    void* definition = dlsym(RTLD_DEFAULT, tried.name);
    if (definition == nullptr) definition = tried.linked;
    if (call_probe::reaches([&] { tried.attempt(definition); })) continue;
    const char* const found_in = file_of(definition);
    if (file == nullptr) {
      report.append("kedge: kqueue() does not see these calls of the program: %s", tried.name);
    } else if (std::strcmp(file, found_in) == 0) {
      report.append(", %s", tried.name);
    } else {
      report.append(" (of %s), %s", file, tried.name);
    }
    file = found_in;
  }
  if (file == nullptr) return;
  report.append(
      " (of %s). Link the program itself with kedge-kqueue, as a whole, ahead of the C library and"
      " of what else defines them, or preload libkedge-kqueue.so",
      file);
  report.write();
}

}  // namespace

void report_bypassed_calls() noexcept {
  static constinit std::atomic<bool> is_done{false};
  if (is_done.load(std::memory_order_relaxed) || is_done.exchange(true)) return;
  const int error = errno;
  const no_cancellation hold;
  try_all();
  errno = error;
}

}  // namespace kedge::kqueue
