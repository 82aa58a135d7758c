/* A library that has a kqueue, for a program that does not know of it. */
#include <sys/event.h>

int open_queue(void);
int open_queue(void) {
  return kqueue();
}
