/*
 * <sys/event.h>: Darwin's kqueue(2) interface for hosts without it, value for value and byte for
 * byte.
 *
 * A program written for macOS compiles against this header unchanged, in C or C++. Every constant
 * is here, whether or not its filter is implemented. runtime/kqueue/README.md lists the filters and
 * what differs from Darwin.
 *
 * All three calls may be made from any thread at any time.
 */
#ifndef _SYS_EVENT_H_
#define _SYS_EVENT_H_

#pragma GCC system_header /* -Wshadow: kevent() hides the constructor of struct kevent */

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

/* Filters. */
#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_AIO (-3)
#define EVFILT_VNODE (-4)
#define EVFILT_PROC (-5)
#define EVFILT_SIGNAL (-6)
#define EVFILT_TIMER (-7)
#define EVFILT_MACHPORT (-8)
#define EVFILT_FS (-9)
#define EVFILT_USER (-10)
#define EVFILT_VM (-12)
#define EVFILT_EXCEPT (-15)
#define EVFILT_SYSCOUNT 17
#define EVFILT_THREADMARKER EVFILT_SYSCOUNT

/* Darwin packs this one to 4 bytes: same offsets and size on LP64, smaller alignment. */
#pragma pack(push, 4)
struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  intptr_t data;
  void* udata;
};
#pragma pack(pop)

struct kevent64_s {
  uint64_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  int64_t data;
  uint64_t udata;
  uint64_t ext[2];
};

#define EV_SET(kevp, a, b, c, d, e, f) \
  do {                                 \
    struct kevent* __kevp__ = (kevp);  \
    __kevp__->ident = (a);             \
    __kevp__->filter = (b);            \
    __kevp__->flags = (c);             \
    __kevp__->fflags = (d);            \
    __kevp__->data = (e);              \
    __kevp__->udata = (f);             \
  } while (0)

#define EV_SET64(kevp, a, b, c, d, e, f, g, h) \
  do {                                         \
    struct kevent64_s* __kevp__ = (kevp);      \
    __kevp__->ident = (a);                     \
    __kevp__->filter = (b);                    \
    __kevp__->flags = (c);                     \
    __kevp__->fflags = (d);                    \
    __kevp__->data = (e);                      \
    __kevp__->udata = (f);                     \
    __kevp__->ext[0] = (g);                    \
    __kevp__->ext[1] = (h);                    \
  } while (0)

/* Flags of the call (kevent64). */
#define KEVENT_FLAG_NONE 0x000000
#define KEVENT_FLAG_IMMEDIATE 0x000001 /* do not wait, whatever `timeout` says */
/* Applies changes and collects no events: the array is for change errors only. */
#define KEVENT_FLAG_ERROR_EVENTS 0x000002

/* Actions on a knote. */
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008

/* Modes of a knote. */
#define EV_ONESHOT 0x0010        /* deleted by its first delivery */
#define EV_CLEAR 0x0020          /* reset by each delivery */
#define EV_RECEIPT 0x0040        /* this change is reported, success included */
#define EV_DISPATCH 0x0080       /* disabled by each delivery */
#define EV_UDATA_SPECIFIC 0x0100 /* udata is part of the knote's key */
#define EV_DISPATCH2 (EV_DISPATCH | EV_UDATA_SPECIFIC)
#define EV_VANISHED 0x0200 /* report that the source is gone (EV_DISPATCH2 only) */

#define EV_SYSFLAGS 0xF000
#define EV_FLAG0 0x1000
#define EV_FLAG1 0x2000
#define EV_POLL EV_FLAG0
#define EV_OOBAND EV_FLAG1

/* Returned. */
#define EV_EOF 0x8000
#define EV_ERROR 0x4000

/* EVFILT_USER: how the lower 24 bits of a change act on the knote's fflags. */
#define NOTE_TRIGGER 0x01000000
#define NOTE_FFNOP 0x00000000
#define NOTE_FFAND 0x40000000
#define NOTE_FFOR 0x80000000
#define NOTE_FFCOPY 0xc0000000
#define NOTE_FFCTRLMASK 0xc0000000
#define NOTE_FFLAGSMASK 0x00ffffff

/* EVFILT_READ, EVFILT_WRITE; EVFILT_EXCEPT. */
#define NOTE_LOWAT 0x00000001
#define NOTE_OOB 0x00000002

/* EVFILT_VNODE. */
#define NOTE_DELETE 0x00000001
#define NOTE_WRITE 0x00000002
#define NOTE_EXTEND 0x00000004
#define NOTE_ATTRIB 0x00000008
#define NOTE_LINK 0x00000010
#define NOTE_RENAME 0x00000020
#define NOTE_REVOKE 0x00000040
#define NOTE_NONE 0x00000080
#define NOTE_FUNLOCK 0x00000100
#define NOTE_LEASE_DOWNGRADE 0x00000200
#define NOTE_LEASE_RELEASE 0x00000400

/* EVFILT_PROC (and, for NOTE_SIGNAL, EVFILT_SIGNAL). */
#define NOTE_EXIT 0x80000000
#define NOTE_FORK 0x40000000
#define NOTE_EXEC 0x20000000
#define NOTE_REAP 0x10000000u
#define NOTE_SIGNAL 0x08000000
#define NOTE_EXITSTATUS 0x04000000
#define NOTE_EXIT_DETAIL 0x02000000
#define NOTE_PDATAMASK 0x000fffff
#define NOTE_PCTRLMASK (~NOTE_PDATAMASK)
#define NOTE_EXIT_REPARENTED 0x00080000u
#define NOTE_EXIT_DETAIL_MASK 0x00070000
#define NOTE_EXIT_DECRYPTFAIL 0x00010000
#define NOTE_EXIT_MEMORY 0x00020000
#define NOTE_EXIT_CSERROR 0x00040000
#define NOTE_TRACK 0x00000001
#define NOTE_TRACKERR 0x00000002
#define NOTE_CHILD 0x00000004

/* EVFILT_VM. */
#define NOTE_VM_PRESSURE 0x80000000
#define NOTE_VM_PRESSURE_TERMINATE 0x40000000
#define NOTE_VM_PRESSURE_SUDDEN_TERMINATE 0x20000000
#define NOTE_VM_ERROR 0x10000000

/* EVFILT_TIMER: unit (milliseconds without one) and kind. */
#define NOTE_SECONDS 0x00000001
#define NOTE_USECONDS 0x00000002
#define NOTE_NSECONDS 0x00000004
#define NOTE_ABSOLUTE 0x00000008
#define NOTE_LEEWAY 0x00000010
#define NOTE_CRITICAL 0x00000020
#define NOTE_BACKGROUND 0x00000040
#define NOTE_MACH_CONTINUOUS_TIME 0x00000080
#define NOTE_MACHTIME 0x00000100

struct knote;
SLIST_HEAD(klist, knote);

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a kqueue and returns its descriptor: close-on-exec, confined to this process, usable with
 * poll(2), select(2) and inside another kqueue (EVFILT_READ). Returns -1 with EMFILE, ENFILE or
 * ENOMEM.
 */
int kqueue(void);

/*
 * Applies `changelist` in order. Then waits for at most `timeout` (null: for ever; zero: not at
 * all) and stores at most `nevents` events. Returns their number, or 0 after a time-out.
 *
 * A change that fails, or asks for EV_RECEIPT, becomes an event with EV_ERROR and the errno (0 for
 * a receipt) in `data`. With such an event the call does not wait. A failed change for which there
 * is no room ends the call with its errno.
 *
 * Returns -1 with EBADF if `kq` is not a kqueue of this process, EINTR if a signal handler ran,
 * EINVAL for a bad time-out or for a kqueue that kevent64() has been used on.
 */
int kevent(int kq, const struct kevent* changelist, int nchanges, struct kevent* eventlist,
           int nevents, const struct timespec* timeout);

/*
 * kevent() with ext[2] and with `flags` (KEVENT_FLAG_*). A kqueue takes only one of the two calls:
 * the one that came first.
 */
int kevent64(int kq, const struct kevent64_s* changelist, int nchanges,
             struct kevent64_s* eventlist, int nevents, unsigned int flags,
             const struct timespec* timeout);

#ifdef __cplusplus
}
#endif

#endif
