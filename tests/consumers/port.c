/* A C program as it is written for a Mac: it knows <mach/mach.h> and <sys/event.h>, and nothing of
 * Kedge. It sends itself a message and waits for it with a kqueue. */
#include <mach/mach.h>
#include <stdio.h>
#include <sys/event.h>

struct number {
  mach_msg_header_t header;
  unsigned value;
};

struct received_number {
  struct number message;
  mach_msg_trailer_t trailer;
};

int main(void) {
  mach_port_t port = MACH_PORT_NULL;
  struct number sent = {{0, 0, 0, 0, 0, 0}, 17};
  struct received_number received;
  struct kevent64_s event;
  kern_return_t result;
  int kq;

  result = mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
  if (result != KERN_SUCCESS) return 1;
  sent.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0);
  sent.header.msgh_size = sizeof sent;
  sent.header.msgh_remote_port = port;
  result = mach_msg(&sent.header, MACH_SEND_MSG, sizeof sent, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  if (result != MACH_MSG_SUCCESS) return 2;

  kq = kqueue();
  EV_SET64(&event, port, EVFILT_MACHPORT, EV_ADD, 0, 0, 0, 0, 0);
  if (kevent64(kq, &event, 1, &event, 1, 0, 0) != 1 || event.ident != port) return 3;
  result =
      mach_msg(&received.message.header, MACH_RCV_MSG, 0, sizeof received, port, 0, MACH_PORT_NULL);
  if (result != MACH_MSG_SUCCESS || received.message.value != 17) return 4;
  mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
  puts("port: received 17");
  return 0;
}
