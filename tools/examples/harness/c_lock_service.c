/* c_lock_service: the lock service once more, in C as it is written for a Mac: no library but
 * Mach's, one thread that blocks in mach_msg(). "--leaky" has a defect: what a dead client leaves
 * in this task's name space is never released. */
#include <mach/mach.h>
#include <mach/notify.h>
#include <servers/bootstrap.h>
#include <string.h>

#include "lock_protocol.h"

enum { most_clients = 32 };

struct client {
  mach_port_t life;
  mach_port_t reply;
};

struct lock {
  mach_port_t requests;
  mach_port_t holder; /* its life; MACH_PORT_NULL: the lock is free */
  struct client waiting[most_clients];
  unsigned count;
  int leaks;
};

union message {
  mach_msg_header_t header;
  struct {
    mach_msg_header_t header;
    mach_msg_body_t body;
    mach_msg_port_descriptor_t life;
  } request;
  mach_dead_name_notification_t death;
  char room[512];
};

static void release(mach_port_t name) {
  if (MACH_PORT_VALID(name)) mach_port_deallocate(mach_task_self(), name);
}

/* Returns 0 if the client is dead already. */
static int watch(struct lock* l, mach_port_t life) {
  mach_port_t before = MACH_PORT_NULL;
  if (mach_port_request_notification(mach_task_self(), life, MACH_NOTIFY_DEAD_NAME, 0, l->requests,
                                     MACH_MSG_TYPE_MAKE_SEND_ONCE, &before) != KERN_SUCCESS) {
    return 0;
  }
  release(before);
  return 1;
}

static void grant(struct lock* l) {
  while (l->holder == MACH_PORT_NULL && l->count > 0) {
    const struct client next = l->waiting[0];
    mach_msg_header_t answer = {0};
    memmove(l->waiting, l->waiting + 1, --l->count * sizeof next);
    answer.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0);
    answer.msgh_size = sizeof answer;
    answer.msgh_remote_port = next.reply;
    answer.msgh_id = lock_granted;
    if (mach_msg(&answer, MACH_SEND_MSG, sizeof answer, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
        MACH_MSG_SUCCESS) {
      l->holder = next.life;
    } else {
      release(next.reply);
      release(next.life);
    }
  }
}

static void request(struct lock* l, union message* m) {
  const mach_port_t life = m->request.life.name;
  if (!MACH_PORT_VALID(life) || l->count == most_clients || !watch(l, life)) {
    mach_msg_destroy(&m->header);
    return;
  }
  l->waiting[l->count].life = life;
  l->waiting[l->count].reply = m->header.msgh_remote_port;
  l->count += 1;
  grant(l);
}

static void free_lock(struct lock* l) {
  release(l->holder);
  l->holder = MACH_PORT_NULL;
  grant(l);
}

static void client_died(struct lock* l, mach_port_t life) {
  for (unsigned i = 0; i < l->count;) {
    if (l->waiting[i].life != life) {
      ++i;
      continue;
    }
    release(l->waiting[i].reply);
    release(l->waiting[i].life);
    memmove(l->waiting + i, l->waiting + i + 1, (--l->count - i) * sizeof l->waiting[0]);
  }
  if (l->holder == life) free_lock(l);
  /* The notification has brought one more reference to the dead name. */
  if (!l->leaks) release(life);
}

static void serve(struct lock* l, union message* m) {
  switch (m->header.msgh_id) {
    case lock_request:
      request(l, m);
      return;
    case lock_release: {
      const mach_port_t life = m->request.life.name;
      if (life == l->holder && life != MACH_PORT_NULL) free_lock(l);
      mach_msg_destroy(&m->header);
      return;
    }
    case MACH_NOTIFY_DEAD_NAME:
      client_died(l, m->death.not_port);
      return;
    default:
      mach_msg_destroy(&m->header);
  }
}

int main(int argc, char** argv) {
  struct lock l = {0};
  union message m;
  l.leaks = argc > 1 && strcmp(argv[1], "--leaky") == 0;
  if (bootstrap_check_in(bootstrap_port, LOCK_SERVICE, &l.requests) != KERN_SUCCESS) return 1;
  while (mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, l.requests, 0, MACH_PORT_NULL) ==
         MACH_MSG_SUCCESS) {
    serve(&l, &m);
  }
  return 2;
}
