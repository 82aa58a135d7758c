// An event loop's use of the kqueue's extensions, in a program that is older than C++17.
#include <sys/event.h>
#include <unistd.h>

#include <cstdio>

#include "kedge/runtime/kqueue/extension.h"

#define EXPECT(what)                                                                 \
  do {                                                                               \
    if (!(what)) return std::printf("line %d: %s does not hold\n", __LINE__, #what); \
  } while (false)

int main() {
  const int kq = kqueue();
  EXPECT(kq >= 0);
  struct kedge_kqueue handle;
  const bool is_supported = kedge_kqueue_open(kq, &handle);
  EXPECT(kedge_kqueue_opt_out(kq, KEDGE_KQUEUE_NO_DATA) == is_supported);
  struct kevent64_s change = {1, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER, 0, 0, {0, 0}};
  EXPECT(kedge_kqueue_kevent64(&handle, &change, 1, nullptr, 0, 0, nullptr) == 0);
  if (is_supported) {
    EXPECT(*handle.active != 0);
    EXPECT(kedge_kqueue_take_active(&handle, &change, 1) == 1);
  }
  EXPECT(close(kq) == 0);
  return 0;
}
