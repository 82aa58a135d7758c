// A program as it is written for a Mac: it uses <mach/mach.h>, <servers/bootstrap.h> and C, and
// nothing of this project. A server counts the words of texts in out-of-line memory. It waits on a
// port set for requests, and for the deaths of its clients, which it counts. Exits with 0 if every
// answer was right.
#include <mach/mach.h>
#include <mach/mach_error.h>
#include <mach/notify.h>
#include <servers/bootstrap.h>

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 3, ROUNDS = 4, COUNT_WORDS = 1000 };

static const char service_name[] = "org.example.word-count";

// A text, and a send right to a port that dies with the sender.
typedef struct {
  mach_msg_header_t header;
  mach_msg_body_t body;
  mach_msg_ool_descriptor_t text;
  mach_msg_port_descriptor_t home;
} request_t;

typedef struct {
  request_t request;
  mach_msg_audit_trailer_t trailer;
} received_request_t;

// The text in capitals, and its number of words.
typedef struct {
  mach_msg_header_t header;
  mach_msg_body_t body;
  mach_msg_ool_descriptor_t text;
  NDR_record_t ndr;
  uint32_t words;
} answer_t;

typedef struct {
  answer_t answer;
  mach_msg_trailer_t trailer;
} received_answer_t;

static void check(kern_return_t result, const char* what) {
  if (result == KERN_SUCCESS) return;
  mach_error(what, result);
  exit(EXIT_FAILURE);
}

static void expect(int truth, const char* what) {
  if (truth) return;
  fprintf(stderr, "not so: %s\n", what);
  exit(EXIT_FAILURE);
}

static uint32_t count_words(const char* text, size_t size) {
  uint32_t words = 0;
  int inside = 0;
  for (size_t each = 0; each < size; ++each) {
    const int letter = !isspace((unsigned char)text[each]);
    words += letter && !inside;
    inside = letter;
  }
  return words;
}

static void answer_request(request_t* request) {
  char* const text = request->text.address;
  answer_t answer;
  memset(&answer, 0, sizeof answer);
  answer.header.msgh_bits =
      MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(request->header.msgh_bits), 0) | MACH_MSGH_BITS_COMPLEX;
  answer.header.msgh_size = sizeof answer;
  answer.header.msgh_remote_port = request->header.msgh_remote_port;
  answer.header.msgh_id = request->header.msgh_id + 100;
  answer.body.msgh_descriptor_count = 1;
  answer.ndr = NDR_record;
  answer.words = count_words(text, request->text.size);
  for (mach_msg_size_t each = 0; each < request->text.size; ++each) {
    text[each] = (char)toupper((unsigned char)text[each]);
  }
  answer.text = request->text;  // sends the same pages back
  answer.text.copy = MACH_MSG_VIRTUAL_COPY;
  answer.text.deallocate = 1;
  check(mach_msg(&answer.header, MACH_SEND_MSG, sizeof answer, 0, MACH_PORT_NULL,
                 MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL),
        "answering");
}

// Requests a dead-name notification for a client, at its first request.
static void watch_home(mach_port_t home, mach_port_t deaths) {
  mach_port_type_t type = 0;
  check(mach_port_type(mach_task_self(), home, &type), "type of a home");
  if ((type & MACH_PORT_TYPE_DNREQUEST) == 0) {
    mach_port_t previous = MACH_PORT_NULL;
    check(mach_port_request_notification(mach_task_self(), home, MACH_NOTIFY_DEAD_NAME, 0, deaths,
                                         MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous),
          "asking for a death");
    expect(previous == MACH_PORT_NULL, "no earlier request");
    return;
  }
  check(mach_port_deallocate(mach_task_self(), home), "a second reference");
}

static void bury(const mach_dead_name_notification_t* notification) {
  const mach_port_name_t name = notification->not_port;
  mach_port_urefs_t references = 0;
  check(mach_port_get_refs(mach_task_self(), name, MACH_PORT_RIGHT_DEAD_NAME, &references),
        "references of a dead name");
  expect(references == 2, "the notification brought a reference of its own");
  check(mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_DEAD_NAME, -2),
        "burying a dead name");
}

static void* serve(void* service_port) {
  const mach_port_t service = *(mach_port_t*)service_port;
  mach_port_t set = MACH_PORT_NULL, deaths = MACH_PORT_NULL;
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set), "a set");
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &deaths), "a port");
  check(mach_port_insert_member(mach_task_self(), service, set), "a member");
  check(mach_port_insert_member(mach_task_self(), deaths, set), "another member");
  for (int dead = 0; dead < CLIENTS;) {
    union {
      mach_msg_header_t header;
      received_request_t request;
      mach_dead_name_notification_t death;
    } message;
    check(mach_msg(&message.header,
                   MACH_RCV_MSG | MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                       MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT),
                   0, sizeof message, set, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL),
          "receiving");
    if (message.header.msgh_local_port == deaths) {
      expect(message.header.msgh_id == MACH_NOTIFY_DEAD_NAME, "a dead-name notification");
      bury(&message.death);
      ++dead;
    } else {
      expect(message.header.msgh_id == COUNT_WORDS, "a request is one");
      expect(message.request.request.body.msgh_descriptor_count == 2, "text and home");
      watch_home(message.request.request.home.name, deaths);
      answer_request(&message.request.request);
    }
  }
  check(mach_port_mod_refs(mach_task_self(), deaths, MACH_PORT_RIGHT_RECEIVE, -1), "closing");
  check(mach_port_mod_refs(mach_task_self(), service, MACH_PORT_RIGHT_RECEIVE, -1), "closing");
  check(mach_port_mod_refs(mach_task_self(), set, MACH_PORT_RIGHT_PORT_SET, -1), "closing");
  return NULL;
}

static void ask(mach_port_t service, mach_port_t reply_to, mach_port_t home, int words) {
  // Several pages of "word word ...".
  const vm_size_t size = (vm_size_t)words * 5;
  vm_address_t memory = 0;
  check(vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE), "memory");
  for (int each = 0; each < words; ++each) memcpy((char*)memory + each * 5, "word ", 5);

  union {
    mach_msg_header_t header;
    request_t request;
    received_answer_t answer;
  } message;
  memset(&message, 0, sizeof message);
  request_t* const request = &message.request;
  request->header.msgh_bits =
      MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) |
      MACH_MSGH_BITS_COMPLEX;
  request->header.msgh_size = sizeof *request;
  request->header.msgh_remote_port = service;
  request->header.msgh_local_port = reply_to;
  request->header.msgh_id = COUNT_WORDS;
  request->body.msgh_descriptor_count = 2;
  request->text.address = (void*)memory;
  request->text.size = (mach_msg_size_t)size;
  request->text.copy = MACH_MSG_VIRTUAL_COPY;
  request->text.deallocate = 1;
  request->text.type = MACH_MSG_OOL_DESCRIPTOR;
  request->home.name = home;
  request->home.disposition = MACH_MSG_TYPE_MAKE_SEND;
  request->home.type = MACH_MSG_PORT_DESCRIPTOR;
  check(mach_msg(&message.header, MACH_SEND_MSG | MACH_RCV_MSG, sizeof *request, sizeof message,
                 reply_to, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL),
        "asking");

  const answer_t* const answer = &message.answer.answer;
  expect(answer->header.msgh_id == COUNT_WORDS + 100, "an answer is one");
  expect(answer->words == (uint32_t)words, "the words are counted");
  expect(answer->text.size == size, "the text came back");
  for (int each = 0; each < words; ++each) {
    expect(memcmp((char*)answer->text.address + each * 5, "WORD ", 5) == 0, "in capitals");
  }
  check(vm_deallocate(mach_task_self(), (vm_address_t)answer->text.address, answer->text.size),
        "releasing the text");
}

static void* be_client(void* unused) {
  (void)unused;
  mach_port_t service = MACH_PORT_NULL, home = MACH_PORT_NULL, reply_to = MACH_PORT_NULL;
  check(bootstrap_look_up(bootstrap_port, service_name, &service), "looking up");
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &home), "a port");
  check(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &reply_to), "a port");
  for (int round = 1; round <= ROUNDS; ++round) ask(service, reply_to, home, round * 3000);
  check(mach_port_mod_refs(mach_task_self(), reply_to, MACH_PORT_RIGHT_RECEIVE, -1), "leaving");
  check(mach_port_mod_refs(mach_task_self(), home, MACH_PORT_RIGHT_RECEIVE, -1), "leaving");
  check(mach_port_deallocate(mach_task_self(), service), "leaving");
  return NULL;
}

int main(void) {
  mach_port_t none = MACH_PORT_NULL, service = MACH_PORT_NULL;
  const kern_return_t unknown = bootstrap_look_up(bootstrap_port, service_name, &none);
  expect(unknown == BOOTSTRAP_UNKNOWN_SERVICE, bootstrap_strerror(unknown));
  check(bootstrap_check_in(bootstrap_port, service_name, &service), "checking in");

  pthread_t server, clients[CLIENTS];
  expect(pthread_create(&server, NULL, serve, &service) == 0, "a thread");
  for (int each = 0; each < CLIENTS; ++each) {
    expect(pthread_create(&clients[each], NULL, be_client, NULL) == 0, "a thread");
  }
  for (int each = 0; each < CLIENTS; ++each) pthread_join(clients[each], NULL);
  pthread_join(server, NULL);
  printf("%d clients asked %d times each, and were buried\n", CLIENTS, ROUNDS);
  return EXIT_SUCCESS;
}
