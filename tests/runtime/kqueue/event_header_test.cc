// <sys/event.h> has Darwin's layouts and values, byte for byte.

#include <doctest/doctest.h>
#include <sys/event.h>

#include <cstddef>

static_assert(sizeof(struct kevent) == 32);
static_assert(alignof(struct kevent) == 4);
static_assert(offsetof(struct kevent, ident) == 0);
static_assert(offsetof(struct kevent, filter) == 8);
static_assert(offsetof(struct kevent, flags) == 10);
static_assert(offsetof(struct kevent, fflags) == 12);
static_assert(offsetof(struct kevent, data) == 16);
static_assert(offsetof(struct kevent, udata) == 24);

static_assert(sizeof(kevent64_s) == 48);
static_assert(alignof(kevent64_s) == 8);
static_assert(offsetof(kevent64_s, ident) == 0);
static_assert(offsetof(kevent64_s, filter) == 8);
static_assert(offsetof(kevent64_s, flags) == 10);
static_assert(offsetof(kevent64_s, fflags) == 12);
static_assert(offsetof(kevent64_s, data) == 16);
static_assert(offsetof(kevent64_s, udata) == 24);
static_assert(offsetof(kevent64_s, ext) == 32);

static_assert(EVFILT_READ == -1 && EVFILT_WRITE == -2 && EVFILT_AIO == -3 && EVFILT_VNODE == -4 &&
              EVFILT_PROC == -5 && EVFILT_SIGNAL == -6 && EVFILT_TIMER == -7 &&
              EVFILT_MACHPORT == -8 && EVFILT_FS == -9 && EVFILT_USER == -10 && EVFILT_VM == -12 &&
              EVFILT_EXCEPT == -15);
static_assert(EV_ADD == 1 && EV_DELETE == 2 && EV_ENABLE == 4 && EV_DISABLE == 8 &&
              EV_ONESHOT == 0x10 && EV_CLEAR == 0x20 && EV_RECEIPT == 0x40 && EV_DISPATCH == 0x80 &&
              EV_UDATA_SPECIFIC == 0x100 && EV_VANISHED == 0x200 && EV_OOBAND == 0x2000 &&
              EV_ERROR == 0x4000 && EV_EOF == 0x8000);
static_assert(NOTE_TRIGGER == 0x01000000 && NOTE_FFAND == 0x40000000u && NOTE_FFOR == 0x80000000u &&
              NOTE_FFCOPY == 0xc0000000u && NOTE_FFLAGSMASK == 0x00ffffff);
static_assert(NOTE_SECONDS == 1 && NOTE_USECONDS == 2 && NOTE_NSECONDS == 4 && NOTE_ABSOLUTE == 8 &&
              NOTE_LEEWAY == 0x10 && NOTE_CRITICAL == 0x20 && NOTE_BACKGROUND == 0x40 &&
              NOTE_MACH_CONTINUOUS_TIME == 0x80 && NOTE_MACHTIME == 0x100);
static_assert(KEVENT_FLAG_IMMEDIATE == 1 && KEVENT_FLAG_ERROR_EVENTS == 2);

TEST_CASE("EV_SET and EV_SET64 fill every field") {
  struct kevent narrow;
  EV_SET(&narrow, 1, EVFILT_USER, EV_ADD, 3, 4, &narrow);
  CHECK(narrow.ident == 1);
  CHECK(narrow.filter == EVFILT_USER);
  CHECK(narrow.flags == EV_ADD);
  CHECK(narrow.fflags == 3);
  CHECK(narrow.data == 4);
  CHECK(narrow.udata == &narrow);

  kevent64_s wide;
  EV_SET64(&wide, 1, EVFILT_USER, EV_ADD, 3, 4, 5, 6, 7);
  CHECK(wide.ident == 1);
  CHECK(wide.filter == EVFILT_USER);
  CHECK(wide.flags == EV_ADD);
  CHECK(wide.fflags == 3);
  CHECK(wide.data == 4);
  CHECK(wide.udata == 5);
  CHECK(wide.ext[0] == 6);
  CHECK(wide.ext[1] == 7);
}
