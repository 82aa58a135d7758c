// Defines the C library's calls that close or duplicate fds (close, close_range, closefrom, dup,
// dup2, dup3, fcntl, fclose, pclose, freopen, closedir), shutdown and lseek. Darwin's kernel does
// the work of a kqueue in them (knote_fdclose()). Linux's kernel knows nothing of kqueues and
// reports no close, so the calls have to be defined here. Each notifies the kqueues concerned and
// runs the next definition (next_definition.h).
//
// For an fd that no kqueue watches they do nothing else, and may be called wherever the originals
// may. For an fd that a kqueue watches they take locks, so they may not be called in a signal
// handler.
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
#include "kedge/runtime/kqueue/libc/own_process.h"

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

// For calls that may be made in a signal handler, or in the child of a process with several
// threads: dlsym() is not allowed there, so they are looked up by a constructor.
constinit next_definition next_close("close", &__interceptor_close);
constinit next_definition next_close_range("close_range", &__interceptor_close_range);
constinit next_definition next_closefrom("closefrom", &__interceptor_closefrom);
constinit next_definition next_dup("dup", &__interceptor_dup);
constinit next_definition next_dup2("dup2", &__interceptor_dup2);
constinit next_definition next_dup3("dup3", &__interceptor_dup3);
constinit next_definition next_fcntl("fcntl", &__interceptor_fcntl);
constinit next_definition next_fcntl64("fcntl64", &__interceptor_fcntl64);
constinit next_definition next_shutdown("shutdown", &__interceptor_shutdown);
constinit next_definition next_lseek("lseek", &__interceptor_lseek);
constinit next_definition next_lseek64("lseek64", &__interceptor_lseek64);

[[gnu::constructor]] void look_up() noexcept {
  next_close.find();
  next_close_range.find();
  next_closefrom.find();
  next_dup.find();
  next_dup2.find();
  next_dup3.find();
  next_fcntl.find();
  next_fcntl64.find();
  next_shutdown.find();
  next_lseek.find();
  next_lseek64.find();
}

// Returns the fd of a stream or directory, -1 if it has none. Keeps errno.
template <class Stream>
int fd_of(int (*get_fd)(Stream*), Stream* stream) noexcept {
  const int error = errno;
  const int fd = get_fd(stream);
  errno = error;
  return fd;
}

bool is_open(int fd) noexcept {
  return fcntl(fd, F_GETFD) >= 0;
}

// Returns whether the fd is a kqueue's, as far as the registry knows.
bool is_kqueue(int fd) noexcept {
  return kqueue_registry::find(fd) != nullptr && own_process::is_current();
}

// `call` makes a duplicate of `fd`. Fails with ENOMEM if the duplicate of a kqueue cannot be noted.
template <class Call>
int duplicate(int fd, Call call) noexcept {
  if (!is_kqueue(fd)) return call();
  const int fresh = internal_fds::make_for_program(call);
  if (fresh < 0) return -1;
  if (!kqueue_registry::duplicate(fd, fresh)) {
    internal_fds::close(fresh);
    errno = ENOMEM;
    return -1;
  }
  internal_fds::forget(fresh);
  return fresh;
}

// `call` makes `target` a duplicate of `fd`, and so closes what `target` was. A call that must fail
// closes nothing.
template <class Call>
int duplicate_over(int fd, int target, Call call) noexcept {
  if (!fd_watchers::has_watcher(target) || !is_open(fd)) return duplicate(fd, call);
  const bool closes_kqueue = is_kqueue(target);
  if (closes_kqueue) internal_fds::note_closing(target);
  fd_watchers::before_close(target);
  if (closes_kqueue && !is_kqueue(fd)) return internal_fds::close_by(target, call);
  const int fresh = duplicate(fd, call);
  if (closes_kqueue) internal_fds::forget(target);
  return fresh;
}

// Returns the result of an lseek().
template <class Offset>
Offset notify_seek(int fd, Offset offset) noexcept {
  if (offset >= 0) fd_watchers::after_seek(fd);
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
using kedge::kqueue::fd_of;
using kedge::kqueue::fd_watchers;
using kedge::kqueue::internal_fds;
using kedge::kqueue::is_kqueue;
using kedge::kqueue::next_close;
using kedge::kqueue::next_close_range;
using kedge::kqueue::next_closefrom;
using kedge::kqueue::next_definition;
using kedge::kqueue::next_dup;
using kedge::kqueue::next_dup2;
using kedge::kqueue::next_dup3;
using kedge::kqueue::next_fcntl;
using kedge::kqueue::next_fcntl64;
using kedge::kqueue::next_lseek;
using kedge::kqueue::next_lseek64;
using kedge::kqueue::next_shutdown;
using kedge::kqueue::notify_seek;

extern "C" int close(int fd) {
  if (!fd_watchers::has_watcher(fd)) return next_close(fd);
  // A cancellation point, but it must not be left halfway.
  pthread_testcancel();
  const kedge::kqueue::no_cancellation hold;
  if (!is_kqueue(fd)) {
    fd_watchers::before_close(fd);
    return next_close(fd);
  }
  internal_fds::note_closing(fd);
  fd_watchers::before_close(fd);
  return internal_fds::close_by(fd, [fd] { return next_close(fd); });
}

extern "C" int close_range(unsigned first, unsigned last, int flags) noexcept {
  if ((static_cast<unsigned>(flags) & CLOSE_RANGE_CLOEXEC) == 0)
    fd_watchers::before_close_range(first, last);
  return next_close_range(first, last, flags);
}

extern "C" void closefrom(int first) noexcept {
  fd_watchers::before_close_range(first < 0 ? 0 : static_cast<unsigned>(first), INT_MAX);
  next_closefrom(first);
}

extern "C" int dup(int fd) noexcept {
  return duplicate(fd, [fd] { return next_dup(fd); });
}

extern "C" int dup2(int fd, int target) noexcept {
  if (fd == target) return next_dup2(fd, target);
  return duplicate_over(fd, target, [=] { return next_dup2(fd, target); });
}

extern "C" int dup3(int fd, int target, int flags) noexcept {
  if (fd == target || (flags & ~O_CLOEXEC) != 0) return next_dup3(fd, target, flags);
  return duplicate_over(fd, target, [=] { return next_dup3(fd, target, flags); });
}

extern "C" int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);  // of any type, or none
  va_end(arguments);
  const auto call = [=] { return next_fcntl(fd, command, argument); };
  return duplicates(command) ? duplicate(fd, call) : call();
}

extern "C" int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const auto call = [=] { return next_fcntl64(fd, command, argument); };
  return duplicates(command) ? duplicate(fd, call) : call();
}

extern "C" int fclose(FILE* stream) {
  static constinit next_definition next("fclose", &__interceptor_fclose);
  fd_watchers::before_close(fd_of(fileno, stream));
  return next(stream);
}

extern "C" int pclose(FILE* stream) {
  static constinit next_definition next("pclose", &__interceptor_pclose);
  fd_watchers::before_close(fd_of(fileno, stream));
  return next(stream);
}

extern "C" FILE* freopen(const char* path, const char* mode, FILE* stream) {
  static constinit next_definition next("freopen", &__interceptor_freopen);
  fd_watchers::before_close(fd_of(fileno, stream));
  return next(path, mode, stream);
}

extern "C" FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  static constinit next_definition next("freopen64", &__interceptor_freopen64);
  fd_watchers::before_close(fd_of(fileno, stream));
  return next(path, mode, stream);
}

extern "C" int closedir(DIR* directory) {
  static constinit next_definition next("closedir", &__interceptor_closedir);
  fd_watchers::before_close(fd_of(dirfd, directory));
  return next(directory);
}

// epoll reports SHUT_RD, and the end of both sides. Only SHUT_WR needs a notification.
extern "C" int shutdown(int fd, int side) noexcept {
  const int result = next_shutdown(fd, side);
  if (result == 0 && side == SHUT_WR) fd_watchers::after_shutdown(fd);
  return result;
}

extern "C" off_t lseek(int fd, off_t offset, int whence) noexcept {
  return notify_seek(fd, next_lseek(fd, offset, whence));
}

extern "C" off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  return notify_seek(fd, next_lseek64(fd, offset, whence));
}
