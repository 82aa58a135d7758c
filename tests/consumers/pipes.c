/* A C program as it is written for a Mac: it knows <sys/event.h>, and nothing of Kedge. It relies
 * on close() and sigaction() working together with kqueues. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/event.h>
#include <unistd.h>

static volatile sig_atomic_t handled;

static void on_signal(int signal) {
  (void)signal;
  handled = 1;
}

static int fail(const char* what) {
  fprintf(stderr, "pipes: %s\n", what);
  return 1;
}

int main(void) {
  const struct timespec now = {0, 0};
  struct sigaction action;
  struct kevent change[2], event;
  int ends[2], copy;
  int kq = kqueue();
  if (kq < 0 || pipe(ends) != 0) return fail("no kqueue, or no pipe");

  /* A watched signal still reaches the handler that the program sets. */
  EV_SET(&change[0], ends[0], EVFILT_READ, EV_ADD, 0, 0, 0);
  EV_SET(&change[1], SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, 0);
  if (kevent(kq, change, 2, 0, 0, 0) != 0) return fail("the changes were refused");
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  if (sigaction(SIGUSR1, &action, 0) != 0 || raise(SIGUSR1) != 0) return fail("no signal");
  if (kevent(kq, 0, 0, &event, 1, 0) != 1 || event.filter != EVFILT_SIGNAL || !handled)
    return fail("the signal was lost");

  if (write(ends[1], "kedge\n", 6) != 6) return fail("cannot write");
  if (kevent(kq, 0, 0, &event, 1, 0) != 1 || event.filter != EVFILT_READ || event.data != 6)
    return fail("the line was lost");

  /* Closing a descriptor drops its knotes, though a duplicate keeps the pipe open. */
  copy = dup(ends[0]);
  close(ends[0]);
  if (kevent(kq, 0, 0, &event, 1, &now) != 0) return fail("a closed descriptor is reported");
  close(copy);
  close(ends[1]);
  close(kq);
  puts("pipes: in order");
  return 0;
}
