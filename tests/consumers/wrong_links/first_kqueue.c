/* The smallest program that can find out how it was linked. */
#include <sys/event.h>

int main(void) {
  return kqueue() < 0;
}
