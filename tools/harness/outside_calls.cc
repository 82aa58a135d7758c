// The calls of the C library by which a process would wait for the real world, or make another
// process or thread. In a process they end the run with an error, if they would block: it could not
// be repeated. Elsewhere they are the C library's own.
//
// ppoll(), pselect() and the waits for signals are those of runtime/kqueue, which asks the world.
#if !defined(__APPLE__)

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <string>

#include "kedge/tools/harness/libc_call.h"
#include "kedge/tools/harness/world_state.h"

extern "C" {
[[gnu::weak]] decltype(::poll) __interceptor_poll;
[[gnu::weak]] decltype(::read) __interceptor_read;
[[gnu::weak]] decltype(::readv) __interceptor_readv;
[[gnu::weak]] decltype(::write) __interceptor_write;
[[gnu::weak]] decltype(::recv) __interceptor_recv;
[[gnu::weak]] decltype(::recvfrom) __interceptor_recvfrom;
[[gnu::weak]] decltype(::recvmsg) __interceptor_recvmsg;
[[gnu::weak]] decltype(::accept) __interceptor_accept;
[[gnu::weak]] decltype(::select) __interceptor_select;
[[gnu::weak]] decltype(::epoll_wait) __interceptor_epoll_wait;
[[gnu::weak]] decltype(::waitpid) __interceptor_waitpid;
[[gnu::weak]] decltype(::pause) __interceptor_pause;
[[gnu::weak]] decltype(::fork) __interceptor_fork;
[[gnu::weak]] decltype(::posix_spawn) __interceptor_posix_spawn;
[[gnu::weak]] decltype(::posix_spawnp) __interceptor_posix_spawnp;
[[gnu::weak]] decltype(::system) __interceptor_system;
[[gnu::weak]] decltype(::popen) __interceptor_popen;
[[gnu::weak]] decltype(::pthread_create) __interceptor_pthread_create;
}

using kedge::harness::caller;
using kedge::harness::fill_random;
using kedge::harness::next_of;
using kedge::harness::running_process;

namespace {

bool is_ready(int fd, short events) noexcept {
  pollfd asked{fd, events, 0};
  static auto* const next = next_of("poll", &__interceptor_poll);
  return next(&asked, 1, 0) != 0;
}

bool is_random_source(int fd) noexcept {
  const dev_t random = makedev(1, 8);
  const dev_t urandom = makedev(1, 9);
  struct stat s{};
  return ::fstat(fd, &s) == 0 && S_ISCHR(s.st_mode) &&
         (s.st_rdev == random || s.st_rdev == urandom);
}

// Ends the run if the call `name` on the fd would block. `flags`: of a socket's call.
void check_descriptor(running_process& p, const char* name, int fd, short events, int flags = 0) {
  const int error = errno;
  const int status = ::fcntl(fd, F_GETFL);
  const bool may_block = status >= 0 && (status & O_NONBLOCK) == 0 && (flags & MSG_DONTWAIT) == 0;
  if (may_block && !is_ready(fd, events)) {
    p.of.stop_uncontrolled("would block in " + std::string(name) + "(), on fd " +
                           std::to_string(fd) + ", which is outside of the world");
  }
  errno = error;
}

[[noreturn]] void stop(running_process& p, const char* name) {
  p.of.stop_uncontrolled("calls " + std::string(name) + "(), which a world cannot run");
}

// Ends the run: what the call waits for is outside.
[[noreturn]] void stop_wait(running_process& p, const char* name) {
  p.of.stop_outside(name);
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* to, std::size_t size) {
  if (running_process* const p = caller()) {
    if (is_random_source(fd)) {
      fill_random(*p, to, size);
      return static_cast<ssize_t>(size);
    }
    check_descriptor(*p, "read", fd, POLLIN);
  }
  static auto* const next = next_of("read", &__interceptor_read);
  return next(fd, to, size);
}

ssize_t readv(int fd, const iovec* parts, int count) {
  if (running_process* const p = caller()) check_descriptor(*p, "readv", fd, POLLIN);
  static auto* const next = next_of("readv", &__interceptor_readv);
  return next(fd, parts, count);
}

ssize_t write(int fd, const void* from, std::size_t size) {
  if (running_process* const p = caller()) check_descriptor(*p, "write", fd, POLLOUT);
  static auto* const next = next_of("write", &__interceptor_write);
  return next(fd, from, size);
}

ssize_t recv(int fd, void* to, std::size_t size, int flags) {
  if (running_process* const p = caller()) check_descriptor(*p, "recv", fd, POLLIN, flags);
  static auto* const next = next_of("recv", &__interceptor_recv);
  return next(fd, to, size, flags);
}

ssize_t recvfrom(int fd, void* __restrict to, std::size_t size, int flags,
                 sockaddr* __restrict from, socklen_t* __restrict from_size) {
  if (running_process* const p = caller()) check_descriptor(*p, "recvfrom", fd, POLLIN, flags);
  static auto* const next = next_of("recvfrom", &__interceptor_recvfrom);
  return next(fd, to, size, flags, from, from_size);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (running_process* const p = caller()) check_descriptor(*p, "recvmsg", fd, POLLIN, flags);
  static auto* const next = next_of("recvmsg", &__interceptor_recvmsg);
  return next(fd, message, flags);
}

int accept(int fd, sockaddr* __restrict peer, socklen_t* __restrict size) {
  if (running_process* const p = caller()) check_descriptor(*p, "accept", fd, POLLIN);
  static auto* const next = next_of("accept", &__interceptor_accept);
  return next(fd, peer, size);
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  static auto* const next = next_of("poll", &__interceptor_poll);
  if (running_process* const p = caller()) {
    const int ready = next(fds, count, 0);
    if (ready != 0 || timeout == 0) return ready;
    stop_wait(*p, "poll");
  }
  return next(fds, count, timeout);
}

int select(int count, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout) {
  static auto* const next = next_of("select", &__interceptor_select);
  if (running_process* const p = caller()) {
    timeval none{};
    const bool waits = timeout == nullptr || timeout->tv_sec != 0 || timeout->tv_usec != 0;
    const int ready = next(count, readable, writable, exceptional, &none);
    if (ready != 0 || !waits) return ready;
    stop_wait(*p, "select");
  }
  return next(count, readable, writable, exceptional, timeout);
}

int epoll_wait(int epoll, epoll_event* events, int room, int timeout) {
  static auto* const next = next_of("epoll_wait", &__interceptor_epoll_wait);
  if (running_process* const p = caller()) {
    const int ready = next(epoll, events, room, 0);
    if (ready != 0 || timeout == 0) return ready;
    stop_wait(*p, "epoll_wait");
  }
  return next(epoll, events, room, timeout);
}

pid_t waitpid(pid_t child, int* status, int options) {
  running_process* const p = caller();
  if (p != nullptr && (options & WNOHANG) == 0) stop_wait(*p, "waitpid");
  static auto* const next = next_of("waitpid", &__interceptor_waitpid);
  return next(child, status, options);
}

pid_t wait(int* status) {
  return waitpid(-1, status, 0);
}

int pause() {
  if (running_process* const p = caller()) stop_wait(*p, "pause");
  static auto* const next = next_of("pause", &__interceptor_pause);
  return next();
}

pid_t fork() noexcept {
  if (running_process* const p = caller()) stop(*p, "fork");
  static auto* const next = next_of("fork", &__interceptor_fork);
  return next();
}

int posix_spawn(pid_t* __restrict child, const char* __restrict path,
                const posix_spawn_file_actions_t* __restrict actions,
                const posix_spawnattr_t* __restrict attributes, char* const* arguments,
                char* const* environment) {
  if (running_process* const p = caller()) stop(*p, "posix_spawn");
  static auto* const next = next_of("posix_spawn", &__interceptor_posix_spawn);
  return next(child, path, actions, attributes, arguments, environment);
}

int posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                 const posix_spawnattr_t* attributes, char* const* arguments,
                 char* const* environment) {
  if (running_process* const p = caller()) stop(*p, "posix_spawnp");
  static auto* const next = next_of("posix_spawnp", &__interceptor_posix_spawnp);
  return next(child, file, actions, attributes, arguments, environment);
}

int system(const char* command) {
  if (running_process* const p = caller()) stop(*p, "system");
  static auto* const next = next_of("system", &__interceptor_system);
  return next(command);
}

FILE* popen(const char* command, const char* mode) {
  if (running_process* const p = caller()) stop(*p, "popen");
  static auto* const next = next_of("popen", &__interceptor_popen);
  return next(command, mode);
}

int pthread_create(pthread_t* __restrict thread, const pthread_attr_t* __restrict attributes,
                   void* (*run)(void*), void* __restrict argument) noexcept {
  if (running_process* const p = caller()) stop(*p, "pthread_create");
  static auto* const next = next_of("pthread_create", &__interceptor_pthread_create);
  return next(thread, attributes, run, argument);
}

}  // extern "C"

#endif
