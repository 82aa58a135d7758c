/* A library whose close() calls the next definition, as a tracer's does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int close(int fd) {
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
  return next(fd);
}
