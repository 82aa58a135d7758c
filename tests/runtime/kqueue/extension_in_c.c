/* kedge/runtime/kqueue/extension.h in C99. */
#define _DEFAULT_SOURCE 1 /* struct timespec */
#include "extension_in_c.h"

#include <unistd.h>

#include "kedge/runtime/kqueue/extension.h"

static uint64_t read_time(void* time) {
  return *(const uint64_t*)time;
}

static struct kevent64_s timer_of(int64_t nanoseconds) {
  struct kevent64_s timer = {0};
  timer.ident = 1;
  timer.filter = EVFILT_TIMER;
  timer.flags = EV_ADD | EV_ONESHOT;
  timer.fflags = NOTE_NSECONDS;
  timer.data = nanoseconds;
  return timer;
}

/* Every function, where extensions are supported. Returns 0, or the line that failed. */
#define EXPECT(what) \
  if (!(what)) return __LINE__

static int use_extensions(int kq) {
  struct kedge_kqueue handle;
  struct kevent64_s event = timer_of(100);
  const struct timespec zero = {0, 0};
  uint64_t now = 1;
  EXPECT(kedge_kqueue_open(kq, &handle));
  EXPECT(kedge_kqueue_opt_out(kq, KEDGE_KQUEUE_NO_DATA | KEDGE_KQUEUE_NOT_POLLABLE));
  EXPECT(kedge_kqueue_opt_in(kq, KEDGE_KQUEUE_OOB_MARKS | KEDGE_KQUEUE_NO_DATA));
  EXPECT(!kedge_kqueue_opt_in(kq, 64));
  EXPECT(kedge_kqueue_use_clock(kq, read_time, &now));
  EXPECT(kedge_kqueue_kevent64(&handle, &event, 1, NULL, 0, 0, NULL) == 0);
  EXPECT(kedge_kqueue_kevent64(&handle, NULL, 0, &event, 1, 0, &zero) == 0);
  now += 100;
  EXPECT(kedge_kqueue_clock_moved(kq));
  EXPECT(kedge_kqueue_kevent64(&handle, NULL, 0, &event, 1, 0, &zero) == 1);
  EXPECT(event.filter == EVFILT_TIMER);
  EXPECT(*handle.active == 0);
  EXPECT(kedge_kqueue_take_active(&handle, &event, 1) == 0);
  event.filter = EVFILT_USER;
  event.flags = EV_ADD | EV_ONESHOT;
  event.fflags = NOTE_TRIGGER;
  EXPECT(kedge_kqueue_kevent64(&handle, &event, 1, NULL, 0, 0, NULL) == 0);
  EXPECT(*handle.active != 0);
  EXPECT(kedge_kqueue_take_active(&handle, &event, 1) == 1);
  return 0;
}

static int use_plain_calls(int kq) {
  struct kedge_kqueue handle;
  struct kevent event;
  EXPECT(!kedge_kqueue_open(kq, &handle));
  EXPECT(!kedge_kqueue_opt_out(kq, KEDGE_KQUEUE_NO_DATA));
  EXPECT(!kedge_kqueue_opt_in(kq, KEDGE_KQUEUE_OOB_MARKS));
  EXPECT(!kedge_kqueue_use_clock(kq, read_time, NULL));
  EXPECT(!kedge_kqueue_clock_moved(kq));
  EV_SET(&event, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
  EXPECT(kedge_kqueue_kevent(&handle, &event, 1, NULL, 0, NULL) == 0);
  EXPECT(kedge_kqueue_kevent(&handle, NULL, 0, &event, 1, NULL) == 1);
  return 0;
}

int use_extension_in_c(int is_supported) {
  const int kq = kqueue();
  const int result = is_supported ? use_extensions(kq) : use_plain_calls(kq);
  close(kq);
  return result;
}
