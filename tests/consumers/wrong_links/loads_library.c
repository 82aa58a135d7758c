/* A program that loads a library with a kqueue: argv[1]. */
#include <dlfcn.h>

int main(int argc, char** argv) {
  void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : 0;
  int (*kqueue)(void) = library ? (int (*)(void))dlsym(library, "kqueue") : 0;
  return kqueue == 0 || kqueue() < 0;
}
