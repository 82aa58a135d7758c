// The C library's calls that close descriptor numbers or duplicate them, the one that closes one
// side of a connection and the one that moves the offset of a file, defined here so that kqueues
// hear of it. Each runs the next definition: the sanitizer's, if there is one, else the C library's
// (or what was loaded before it).
//
// For a number that no kqueue cares for they do nothing else, and may be called where the originals
// may. For one that a kqueue does care for, they take locks: not in a signal handler.

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/libc/next_definition.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

extern "C" {
[[gnu::weak]] decltype(close) __interceptor_close;
[[gnu::weak]] decltype(closefrom) __interceptor_closefrom;
[[gnu::weak]] decltype(close_range) __interceptor_close_range;
[[gnu::weak]] decltype(dup) __interceptor_dup;
[[gnu::weak]] decltype(dup2) __interceptor_dup2;
[[gnu::weak]] decltype(dup3) __interceptor_dup3;
[[gnu::weak]] decltype(fcntl) __interceptor_fcntl;
[[gnu::weak]] decltype(fcntl64) __interceptor_fcntl64;
[[gnu::weak]] decltype(fclose) __interceptor_fclose;
[[gnu::weak]] decltype(pclose) __interceptor_pclose;
[[gnu::weak]] decltype(freopen) __interceptor_freopen;
[[gnu::weak]] decltype(freopen64) __interceptor_freopen64;
[[gnu::weak]] decltype(closedir) __interceptor_closedir;
[[gnu::weak]] decltype(shutdown) __interceptor_shutdown;
[[gnu::weak]] decltype(lseek) __interceptor_lseek;
[[gnu::weak]] decltype(lseek64) __interceptor_lseek64;
}

namespace kedge::kqueue {
namespace {

// Of those that may be called in a signal handler, or in the child of a process with several
// threads: there the next definition cannot be looked for.
constinit next_definition next_close("close", &__interceptor_close);
constinit next_definition next_dup("dup", &__interceptor_dup);
constinit next_definition next_dup2("dup2", &__interceptor_dup2);
constinit next_definition next_dup3("dup3", &__interceptor_dup3);
constinit next_definition next_fcntl("fcntl", &__interceptor_fcntl);
constinit next_definition next_fcntl64("fcntl64", &__interceptor_fcntl64);
constinit next_definition next_shutdown("shutdown", &__interceptor_shutdown);
constinit next_definition next_lseek("lseek", &__interceptor_lseek);
constinit next_definition next_lseek64("lseek64", &__interceptor_lseek64);

[[gnu::constructor]] void begin() noexcept {
  next_close.find();
  next_dup.find();
  next_dup2.find();
  next_dup3.find();
  next_fcntl.find();
  next_fcntl64.find();
  next_shutdown.find();
  next_lseek.find();
  next_lseek64.find();
}

// The number of a stream or directory; -1 for one that has none. Keeps errno.
template <class Stream>
int number_of(int (*ask)(Stream*), Stream* stream) noexcept {
  const int error = errno;
  const int number = ask(stream);
  errno = error;
  return number;
}

bool is_open(int number) noexcept {
  return fcntl(number, F_GETFD) >= 0;
}

// Whether the number is a kqueue's, as far as is known.
bool is_kqueue(int number) noexcept {
  return kqueue_registry::find(number) != nullptr && fd_watchers::in_own_process();
}

// `call` makes a duplicate of a number. ENOMEM: it would be a kqueue's, and cannot be noted.
template <class Call>
int duplicate(int number, Call call) noexcept {
  if (!is_kqueue(number)) return call();
  const int fresh = internal_fds::make(call);
  if (fresh < 0) return -1;
  if (!kqueue_registry::duplicate(number, fresh)) {
    internal_fds::close(fresh);
    errno = ENOMEM;
    return -1;
  }
  internal_fds::forget(fresh);
  return fresh;
}

// The same in place of another descriptor. A call that must fail closes nothing.
template <class Call>
int duplicate_over(int number, int target, Call call) noexcept {
  if (!fd_watchers::concerns(target) || !is_open(number)) return duplicate(number, call);
  const bool ends_number = is_kqueue(target);
  if (ends_number) internal_fds::leave(target);
  fd_watchers::announce(target);
  if (ends_number && !is_kqueue(number)) return internal_fds::close_by(target, call);
  const int fresh = duplicate(number, call);
  if (ends_number) internal_fds::forget(target);
  return fresh;
}

template <class Offset>
Offset moved(int number, Offset offset) noexcept {
  if (offset >= 0) fd_watchers::announce_new_offset(number);
  return offset;
}

bool duplicates(int command) noexcept {
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

}  // namespace
}  // namespace kedge::kqueue

using kedge::kqueue::duplicate;
using kedge::kqueue::duplicate_over;
using kedge::kqueue::duplicates;
using kedge::kqueue::fd_watchers;
using kedge::kqueue::internal_fds;
using kedge::kqueue::is_kqueue;
using kedge::kqueue::moved;
using kedge::kqueue::next_close;
using kedge::kqueue::next_definition;
using kedge::kqueue::next_dup;
using kedge::kqueue::next_dup2;
using kedge::kqueue::next_dup3;
using kedge::kqueue::next_fcntl;
using kedge::kqueue::next_fcntl64;
using kedge::kqueue::next_lseek;
using kedge::kqueue::next_lseek64;
using kedge::kqueue::next_shutdown;
using kedge::kqueue::number_of;

extern "C" int close(int number) {
  if (!fd_watchers::concerns(number)) return next_close(number);
  pthread_testcancel();  // a cancellation point, but all or nothing
  const kedge::kqueue::no_cancellation hold;
  if (!is_kqueue(number)) {
    fd_watchers::announce(number);
    return next_close(number);
  }
  internal_fds::leave(number);
  fd_watchers::announce(number);
  return internal_fds::close_by(number, [number] { return next_close(number); });
}

extern "C" int close_range(unsigned first, unsigned last, int flags) noexcept {
  static constinit next_definition next("close_range", &__interceptor_close_range);
  if ((static_cast<unsigned>(flags) & CLOSE_RANGE_CLOEXEC) == 0)
    fd_watchers::announce_all(first, last);
  return next(first, last, flags);
}

extern "C" void closefrom(int first) noexcept {
  static constinit next_definition next("closefrom", &__interceptor_closefrom);
  fd_watchers::announce_all(first < 0 ? 0 : static_cast<unsigned>(first), INT_MAX);
  next(first);
}

extern "C" int dup(int number) noexcept {
  return duplicate(number, [number] { return next_dup(number); });
}

extern "C" int dup2(int number, int target) noexcept {
  if (number == target) return next_dup2(number, target);
  return duplicate_over(number, target, [=] { return next_dup2(number, target); });
}

extern "C" int dup3(int number, int target, int flags) noexcept {
  if (number == target || (flags & ~O_CLOEXEC) != 0) return next_dup3(number, target, flags);
  return duplicate_over(number, target, [=] { return next_dup3(number, target, flags); });
}

extern "C" int fcntl(int number, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);  // whatever it is, if there is one
  va_end(arguments);
  const auto call = [=] { return next_fcntl(number, command, argument); };
  return duplicates(command) ? duplicate(number, call) : call();
}

extern "C" int fcntl64(int number, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const auto call = [=] { return next_fcntl64(number, command, argument); };
  return duplicates(command) ? duplicate(number, call) : call();
}

extern "C" int fclose(FILE* stream) {
  static constinit next_definition next("fclose", &__interceptor_fclose);
  fd_watchers::announce(number_of(fileno, stream));
  return next(stream);
}

extern "C" int pclose(FILE* stream) {
  static constinit next_definition next("pclose", &__interceptor_pclose);
  fd_watchers::announce(number_of(fileno, stream));
  return next(stream);
}

extern "C" FILE* freopen(const char* path, const char* mode, FILE* stream) {
  static constinit next_definition next("freopen", &__interceptor_freopen);
  fd_watchers::announce(number_of(fileno, stream));
  return next(path, mode, stream);
}

extern "C" FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  static constinit next_definition next("freopen64", &__interceptor_freopen64);
  fd_watchers::announce(number_of(fileno, stream));
  return next(path, mode, stream);
}

extern "C" int closedir(DIR* directory) {
  static constinit next_definition next("closedir", &__interceptor_closedir);
  fd_watchers::announce(number_of(dirfd, directory));
  return next(directory);
}

// SHUT_RD shows in what epoll tells, and so does the end of both sides.
extern "C" int shutdown(int number, int side) noexcept {
  const int result = next_shutdown(number, side);
  if (result == 0 && side == SHUT_WR) fd_watchers::announce_end_of_sending(number);
  return result;
}

extern "C" off_t lseek(int number, off_t offset, int whence) noexcept {
  return moved(number, next_lseek(number, offset, whence));
}

extern "C" off64_t lseek64(int number, off64_t offset, int whence) noexcept {
  return moved(number, next_lseek64(number, offset, whence));
}
