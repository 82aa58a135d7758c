// extension: what the Linux kqueue offers beyond Darwin's interface, for event loops in C (from C99
// on) and in C++. The functions of C++ below need C++17; C++11 and C++14 have those of C.
//
//   kedge::kqueue::opt_out(kq, kedge::kqueue::no_data | kedge::kqueue::not_pollable);
//   kedge_kqueue_opt_out(kq, KEDGE_KQUEUE_NO_DATA);                                     // in C
//
// - A loop can opt out of fidelity that costs and that it does not need. For a program that cannot
//   be changed, the environment variable KEDGE_KQUEUE_OPT_OUT lists options, as in
//   "no_data,not_pollable". The first kqueue() of the process reads it. Every kqueue then begins
//   with these options.
// - A loop can opt in to what Darwin does not have.
// - With a handle, calls do not look the kqueue up, and one load says whether take_active() would
//   find something.
//
// On Darwin these functions are inline and return "not supported", and a handle makes the plain
// calls, so callers need no #if. Any thread may call them. A `kq` that is not a kqueue of this
// process is "not supported". No function changes errno, but for the two that are kevent() and
// kevent64().
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/event.h>
#include <time.h>

// Options, as bits.
//
// NO_DATA, by opt_out: `data` of READ and WRITE events is 0, but for regular files, whose `data` is
// what makes their events. Saves an ioctl per event.
//
// NOT_POLLABLE, by opt_out: the descriptor need not become readable when a knote is activated in
// user space (USER, Mach ports). Saves a write per activation. A thread asleep in kevent() is still
// woken.
//
// OOB_MARKS, by opt_in: READ events of sockets have NOTE_OOB in fflags if the mark of out-of-band
// data is ahead, where a read stops short of the bytes behind it. It costs no call. It applies to
// EVFILT_READ knotes with EV_CLEAR that are added after it, and not to events with EV_EOF, whose
// fflags is the socket's error. Out-of-band data alone makes no READ event.
#define KEDGE_KQUEUE_NO_DATA 1u
#define KEDGE_KQUEUE_NOT_POLLABLE 2u
#define KEDGE_KQUEUE_OOB_MARKS 4u

#ifdef __cplusplus
#include <cstdint>

#define KEDGE_KQUEUE_NOEXCEPT noexcept
extern "C" {
#else
#define KEDGE_KQUEUE_NOEXCEPT
#endif

struct timespec;  // which <time.h> lacks in strict C99

// Returns the nanoseconds of a monotonic clock. It is called under locks of the kqueue, from any
// thread that uses the kqueue, and in a signal handler if a SIGNAL knote counts the signal. So it
// must be async-signal-safe, and must not call functions about kqueues.
//
// `argument` must live until the clock is replaced, or the kqueue is closed, and longer in a
// program with SIGNAL knotes in the kqueue: a signal handler that has begun before may still run
// the function. In such a program let it live as long as the process.
typedef uint64_t kedge_kqueue_clock(void* argument);

// A handle of a kqueue, which is valid as long as `fd` is open, and needs no destruction. (In the
// child of a fork its calls fail with EBADF, as with the fd.)
struct kedge_kqueue {
  int fd;
  // Not 0 while knotes are active in user space (USER, SIGNAL, Mach ports, timers that have fired):
  // take_active() may deliver them. Another thread may change it at any time.
  const uint32_t* active;
  void* queue;
};

#if defined(__APPLE__)

static inline bool kedge_kqueue_opt_out(int kq, unsigned options) KEDGE_KQUEUE_NOEXCEPT {
  return (void)kq, (void)options, false;
}
static inline bool kedge_kqueue_opt_in(int kq, unsigned options) KEDGE_KQUEUE_NOEXCEPT {
  return (void)kq, (void)options, false;
}
static inline bool kedge_kqueue_use_clock(int kq, kedge_kqueue_clock* clock,
                                          void* argument) KEDGE_KQUEUE_NOEXCEPT {
  return (void)kq, (void)clock, (void)argument, false;
}
static inline bool kedge_kqueue_clock_moved(int kq) KEDGE_KQUEUE_NOEXCEPT {
  return (void)kq, false;
}
static inline bool kedge_kqueue_open(int kq, struct kedge_kqueue* handle) KEDGE_KQUEUE_NOEXCEPT {
  static const uint32_t never = 0;
  handle->fd = kq;
  handle->active = &never;
  handle->queue = 0;
  return false;
}
static inline int kedge_kqueue_take_active(const struct kedge_kqueue* handle,
                                           struct kevent64_s* events,
                                           int nevents) KEDGE_KQUEUE_NOEXCEPT {
  return (void)handle, (void)events, (void)nevents, 0;
}
static inline int kedge_kqueue_kevent(const struct kedge_kqueue* handle,
                                      const struct kevent* changes, int nchanges,
                                      struct kevent* events, int nevents,
                                      const struct timespec* timeout) {
  return kevent(handle->fd, changes, nchanges, events, nevents, timeout);
}
static inline int kedge_kqueue_kevent64(const struct kedge_kqueue* handle,
                                        const struct kevent64_s* changes, int nchanges,
                                        struct kevent64_s* events, int nevents, unsigned flags,
                                        const struct timespec* timeout) {
  return kevent64(handle->fd, changes, nchanges, events, nevents, flags, timeout);
}

#else

// Turn options on and off: opt_out turns NO_DATA and NOT_POLLABLE on and OOB_MARKS off, opt_in does
// the opposite. Return false and change nothing if that is not supported: a bit is unknown, or `kq`
// is not a kqueue. If knotes are active, opt_in(NOT_POLLABLE) makes the descriptor readable before
// it returns.
bool kedge_kqueue_opt_out(int kq, unsigned options) KEDGE_KQUEUE_NOEXCEPT;
bool kedge_kqueue_opt_in(int kq, unsigned options) KEDGE_KQUEUE_NOEXCEPT;

// Replaces the clock of the kqueue's EVFILT_TIMER knotes and of the time-outs of its calls. Null
// restores the default, CLOCK_MONOTONIC. With a replaced clock nothing in the kqueue waits for real
// time. Each call reads the clock, and reports the timers that are due. A call that has to wait
// sleeps until an event comes, or until kedge_kqueue_clock_moved() is called and the clock has
// reached a timer or the end of the time-out. (NOTE_ABSOLUTE without NOTE_MACHTIME asks the wall
// clock how far away the time is. WRITE below its low-water mark is still polled in real time.)
//
// Returns false and changes nothing if `kq` is not a kqueue, if it has a timer, or if a thread is
// in a call about it.
bool kedge_kqueue_use_clock(int kq, kedge_kqueue_clock* clock,
                            void* argument) KEDGE_KQUEUE_NOEXCEPT;

// To be called after the replaced clock has moved. The timers that are due become active, so that
// the kqueue's descriptor is readable when the call returns, and all threads that sleep in the
// kqueue look at the clock. Returns false if `kq` is not a kqueue.
bool kedge_kqueue_clock_moved(int kq) KEDGE_KQUEUE_NOEXCEPT;

// Makes a handle of a kqueue. If `kq` is not a kqueue, returns false and makes a handle with which
// every call fails with EBADF.
bool kedge_kqueue_open(int kq, struct kedge_kqueue* handle) KEDGE_KQUEUE_NOEXCEPT;

// Delivers knotes that are already active in user space, like kevent64() with a zero time-out, but
// without a system call and so without checking descriptors and timers. It serves a kqueue that is
// used by kevent() too, whose events have ext 0. Returns the number of events, 0 also if there is
// no kqueue. The caller bounds how often it does so between full calls.
int kedge_kqueue_deliver_active(const struct kedge_kqueue* handle, struct kevent64_s* events,
                                int nevents) KEDGE_KQUEUE_NOEXCEPT;
static inline int kedge_kqueue_take_active(const struct kedge_kqueue* handle,
                                           struct kevent64_s* events,
                                           int nevents) KEDGE_KQUEUE_NOEXCEPT {
  return __atomic_load_n(handle->active, __ATOMIC_RELAXED) == 0
             ? 0
             : kedge_kqueue_deliver_active(handle, events, nevents);
}

// kevent() and kevent64() by a handle.
int kedge_kqueue_kevent(const struct kedge_kqueue* handle, const struct kevent* changes,
                        int nchanges, struct kevent* events, int nevents,
                        const struct timespec* timeout);
int kedge_kqueue_kevent64(const struct kedge_kqueue* handle, const struct kevent64_s* changes,
                          int nchanges, struct kevent64_s* events, int nevents, unsigned flags,
                          const struct timespec* timeout);

#endif

#undef KEDGE_KQUEUE_NOEXCEPT

#ifdef __cplusplus
}  // extern "C"
#endif

#if defined(__cplusplus) && __cplusplus >= 201703L

namespace kedge::kqueue {

inline constexpr unsigned no_data = KEDGE_KQUEUE_NO_DATA;
inline constexpr unsigned not_pollable = KEDGE_KQUEUE_NOT_POLLABLE;
inline constexpr unsigned oob_marks = KEDGE_KQUEUE_OOB_MARKS;

inline bool opt_out(int kq, unsigned options) noexcept {
  return kedge_kqueue_opt_out(kq, options);
}
inline bool opt_in(int kq, unsigned options) noexcept {
  return kedge_kqueue_opt_in(kq, options);
}

using clock_function = std::uint64_t (*)(void* argument) noexcept;

inline bool use_clock(int kq, clock_function clock, void* argument) noexcept {
  return kedge_kqueue_use_clock(kq, clock, argument);
}
inline bool clock_moved(int kq) noexcept {
  return kedge_kqueue_clock_moved(kq);
}

// Closes every fd of every kqueue that has this owner: what the hook of filter.h has returned when
// the kqueue was made; with Mach's kernel, the id of the task that was current. For a simulation
// that has ended the owner. Requires that no thread is in a call about them.
#if defined(__APPLE__)
inline void close_all_of(const void*) noexcept {}
#else
void close_all_of(const void* owner) noexcept;
#endif

class handle {
 public:
  // Of no kqueue, until another handle is assigned.
  handle() noexcept : handle(-1) {}
  explicit handle(int kq) noexcept : is_open_(kedge_kqueue_open(kq, &in_c_)) {}

  int fd() const noexcept { return in_c_.fd; }

  // Returns false on Darwin, too, where has_active() is never true.
  explicit operator bool() const noexcept { return is_open_; }

  bool has_active() const noexcept { return __atomic_load_n(in_c_.active, __ATOMIC_RELAXED) != 0; }
  int take_active(kevent64_s* events, int nevents) const noexcept {
    return kedge_kqueue_take_active(&in_c_, events, nevents);
  }
  int kevent(const struct kevent* changes, int nchanges, struct kevent* events, int nevents,
             const timespec* timeout) const {
    return kedge_kqueue_kevent(&in_c_, changes, nchanges, events, nevents, timeout);
  }
  int kevent64(const kevent64_s* changes, int nchanges, kevent64_s* events, int nevents,
               unsigned flags, const timespec* timeout) const {
    return kedge_kqueue_kevent64(&in_c_, changes, nchanges, events, nevents, flags, timeout);
  }

 private:
  struct kedge_kqueue in_c_;
  bool is_open_;
};

// handle::take_active() for a single call.
inline int take_active(int kq, kevent64_s* events, int nevents) noexcept {
  return handle(kq).take_active(events, nevents);
}

}  // namespace kedge::kqueue

#endif
