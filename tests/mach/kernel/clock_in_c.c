/* The clock of kedge/mach/kernel/extension.h in C99. */
#include "clock_in_c.h"

#include <mach/mach.h>
#include <mach/mach_time.h>

#include "kedge/mach/kernel/extension.h"

static uint64_t read_time(void* time) {
  return *(const uint64_t*)time;
}

#define EXPECT(what) \
  if (!(what)) return __LINE__

#if defined(__APPLE__)

static int use_clock(uint64_t* now) {
  EXPECT(!kedge_mach_use_clock(read_time, now));
  kedge_mach_clock_moved();
  EXPECT(mach_absolute_time() != *now);
  return 0;
}

#else

#include <mach/mk_timer.h>

static mach_msg_return_t take_expiry(mach_port_t timer) {
  struct {
    mk_timer_expire_msg_t message;
    mach_msg_max_trailer_t trailer;
  } got;
  return mach_msg(&got.message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof got, timer, 0,
                  MACH_PORT_NULL);
}

static int use_clock(uint64_t* now) {
  const mach_port_t timer = mk_timer_create();
  EXPECT(kedge_mach_use_clock(read_time, now));
  EXPECT(mach_absolute_time() == *now);
  EXPECT(mk_timer_arm(timer, *now + 100) == KERN_SUCCESS);
  kedge_mach_clock_moved();
  EXPECT(take_expiry(timer) == MACH_RCV_TIMED_OUT);
  *now += 100;
  kedge_mach_clock_moved();
  EXPECT(take_expiry(timer) == MACH_MSG_SUCCESS);
  EXPECT(kedge_mach_use_clock(0, 0));
  EXPECT(mach_absolute_time() != *now);
  EXPECT(mk_timer_destroy(timer) == KERN_SUCCESS);
  return 0;
}

#endif

int use_clock_in_c(void) {
  uint64_t now = 5;
  return use_clock(&now);
}
