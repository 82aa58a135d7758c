// A program as written for a Mac: it uses <sys/event.h>, POSIX and C, and nothing of this project.
// Its server answers lines on TCP connections, follows a file, waits, receives signals, and hands
// connections over to worker processes. As many programs do, it closes an fd instead of deleting
// its knotes, reads SO_ERROR after an event, and has a signal handler of its own. Its client is a
// process that talks to the server, and exits with 0 if every answer was right. The program then
// exits with 0 too.
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 256, BATCH = 8, MANY_BYTES = 3000000, STATUS_OF_WORKER = 5 };

static void fail(const char* what) {
  perror(what);
  exit(EXIT_FAILURE);
}

static void expect(int truth, const char* what) {
  if (truth) return;
  fprintf(stderr, "expectation failed: %s\n", what);
  exit(EXIT_FAILURE);
}

// --- The server -------------------------------------------------------------------------------

typedef struct connection {
  int fd;  // -1: closed, and freed after the events of this batch
  int follows;
  char in[LINE];
  size_t in_size;
  char* out;  // bytes not yet sent
  size_t out_size;
  struct connection* next;
} connection_t;

static int queue;
static int listener;
static connection_t* connections;
static const char* followed_path;
static int followed;
static volatile sig_atomic_t hangups_handled;
static intptr_t hangups_reported;
static int resets;

static void on_hangup_signal(int signal_number) {
  (void)signal_number;
  ++hangups_handled;
}

// Returns 0 or an errno.
static int change(uintptr_t ident, int filter, int flags, unsigned fflags, intptr_t data,
                  void* udata) {
  struct kevent k;
  EV_SET(&k, ident, (int16_t)filter, (uint16_t)flags, fflags, data, udata);
  return kevent(queue, &k, 1, NULL, 0, NULL) == 0 ? 0 : errno;
}

static void require_change(uintptr_t ident, int filter, int flags, unsigned fflags, intptr_t data,
                           void* udata) {
  const int error = change(ident, filter, flags, fflags, data, udata);
  if (error == 0) return;
  errno = error;
  fail("kevent");
}

static void set_blocking(int fd, int blocking) {
  const int flags = fcntl(fd, F_GETFL);
  if (fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) != 0) fail("fcntl");
}

static void flush(connection_t* c) {
  size_t sent = 0;
  while (sent < c->out_size) {
    const ssize_t n = write(c->fd, c->out + sent, c->out_size - sent);
    if (n < 0 && errno != EAGAIN && errno != EPIPE) fail("write");
    if (n < 0) break;
    sent += (size_t)n;
  }
  c->out_size -= sent;
  memmove(c->out, c->out + sent, c->out_size);
  require_change((uintptr_t)c->fd, EVFILT_WRITE, c->out_size != 0 ? EV_ENABLE : EV_DISABLE, 0, 0,
                 c);
}

static void send_bytes(connection_t* c, const char* bytes, size_t size) {
  c->out = realloc(c->out, c->out_size + size + 1);
  expect(c->out != NULL, "there is memory");
  memcpy(c->out + c->out_size, bytes, size);
  c->out_size += size;
  flush(c);
}

static void send_line(connection_t* c, const char* format, ...) {
  char line[LINE];
  va_list arguments;
  va_start(arguments, format);
  const int size = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  send_bytes(c, line, (size_t)size);
}

static void notify_followers(const char* what, long long value) {
  for (connection_t* c = connections; c != NULL; c = c->next)
    if (c->fd >= 0 && c->follows) send_line(c, "%s %lld\n", what, value);
}

// Closing the fd deletes its knotes.
static void hang_up(connection_t* c) {
  if (close(c->fd) != 0) fail("close");
  c->fd = -1;
}

static void accept_all(void) {
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0 && errno == EAGAIN) return;
    if (fd < 0) fail("accept");
    connection_t* const c = calloc(1, sizeof *c);
    expect(c != NULL, "there is memory");
    c->fd = fd;
    c->next = connections;
    connections = c;
    set_blocking(fd, 0);
    struct kevent both[2];
    EV_SET(&both[0], (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, c);
    EV_SET(&both[1], (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_DISABLE, 0, 0, c);
    if (kevent(queue, both, 2, NULL, 0, NULL) != 0) fail("kevent");
  }
}

static void open_followed(void) {
  followed = open(followed_path, O_RDONLY);
  if (followed < 0) fail(followed_path);
  require_change((uintptr_t)followed, EVFILT_VNODE, EV_ADD | EV_CLEAR,
                 NOTE_WRITE | NOTE_DELETE | NOTE_RENAME, 0, NULL);
}

static void file_changed(unsigned what) {
  const int is_replaced = (what & (NOTE_DELETE | NOTE_RENAME)) != 0;
  if (is_replaced) {
    close(followed);
    open_followed();
  }
  struct stat status;
  if (fstat(followed, &status) != 0) fail("fstat");
  notify_followers(is_replaced ? "replaced" : "grew", status.st_size);
}

static void child_ended(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) fail("waitpid");
  expect(WIFEXITED(status) && WEXITSTATUS(status) == STATUS_OF_WORKER, "the worker ended well");
  notify_followers("worker", WEXITSTATUS(status));
}

// The worker process that a connection is handed over to: it sends back what it receives.
static void work(int fd) {
  static const char greeting[] = "worker here\n";
  char bytes[LINE];
  ssize_t n = 0;
  set_blocking(fd, 1);
  if (write(fd, greeting, strlen(greeting)) < 0) _exit(EXIT_FAILURE);
  while ((n = read(fd, bytes, sizeof bytes)) > 0)
    if (write(fd, bytes, (size_t)n) != n) _exit(EXIT_FAILURE);
  _exit(STATUS_OF_WORKER);
}

// The file stays open in the worker. The fd is closed here, so that its knotes report nothing more.
static void hand_over(connection_t* c) {
  const pid_t worker = fork();
  if (worker < 0) fail("fork");
  if (worker == 0) work(c->fd);
  hang_up(c);
  const int error = change((uintptr_t)worker, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
  if (error == ESRCH) {
    child_ended(worker);
  } else if (error != 0) {
    errno = error;
    fail("EVFILT_PROC");
  }
}

static void answer(connection_t* c, const char* line) {
  if (strncmp(line, "echo ", 5) == 0) {
    send_line(c, "%s\n", line + 5);
  } else if (strcmp(line, "follow") == 0) {
    c->follows = 1;
    send_line(c, "following\n");
  } else if (strncmp(line, "wait ", 5) == 0) {
    require_change((uintptr_t)c->fd, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, atoi(line + 5), c);
  } else if (strcmp(line, "many") == 0) {
    char* const bytes = malloc(MANY_BYTES);
    expect(bytes != NULL, "there is memory");
    memset(bytes, 'x', MANY_BYTES);
    send_bytes(c, bytes, MANY_BYTES);
    free(bytes);
    send_line(c, "\n");
  } else if (strcmp(line, "worker") == 0) {
    hand_over(c);
  } else {
    expect(0, "every request is known");
  }
}

static void read_lines(connection_t* c, const struct kevent* event) {
  if ((event->flags & EV_EOF) != 0 && event->fflags != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) fail("SO_ERROR");
    expect(error == ECONNRESET && event->fflags == ECONNRESET, "SO_ERROR is what the event says");
    ++resets;
    hang_up(c);
    return;
  }
  const ssize_t n = read(c->fd, c->in + c->in_size, sizeof c->in - c->in_size);
  if (n < 0) fail("read");
  if (n == 0) {
    hang_up(c);
    return;
  }
  expect(n >= event->data || c->in_size + (size_t)n == sizeof c->in,
         "what the event says can be read");
  c->in_size += (size_t)n;
  char* end = NULL;
  while (c->fd >= 0 && (end = memchr(c->in, '\n', c->in_size)) != NULL) {
    *end = '\0';
    answer(c, c->in);
    c->in_size -= (size_t)(end + 1 - c->in);
    memmove(c->in, end + 1, c->in_size);
  }
}

// Handles an event of a connection. A connection that was closed before this batch must have none.
static void serve_connection(const struct kevent* event) {
  connection_t* c = connections;
  while (c != NULL && c != event->udata) c = c->next;
  expect(c != NULL, "a closed connection has no events");
  if (c->fd < 0) return;
  expect(event->ident == (uintptr_t)c->fd, "the event is the connection's");
  if (event->filter == EVFILT_READ) read_lines(c, event);
  if (event->filter == EVFILT_WRITE) flush(c);
  if (event->filter == EVFILT_TIMER) send_line(c, "waited\n");
}

static void forget_closed(void) {
  for (connection_t** link = &connections; *link != NULL;) {
    connection_t* const c = *link;
    if (c->fd >= 0) {
      link = &c->next;
      continue;
    }
    *link = c->next;
    free(c->out);
    free(c);
  }
}

// Returns the status of the client, which has ended.
static int serve(pid_t client) {
  for (;;) {
    struct kevent events[BATCH];
    const int n = kevent(queue, NULL, 0, events, BATCH, NULL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("kevent");
    for (int i = 0; i < n; ++i) {
      const struct kevent* const event = &events[i];
      expect((event->flags & EV_ERROR) == 0, "there are no errors among the events");
      if (event->filter == EVFILT_SIGNAL) {
        hangups_reported += event->data;
        notify_followers("hangups", event->data);
      } else if (event->filter == EVFILT_VNODE) {
        file_changed(event->fflags);
      } else if (event->filter == EVFILT_PROC && event->ident != (uintptr_t)client) {
        child_ended((pid_t)event->ident);
      } else if (event->filter == EVFILT_PROC) {
        int status = 0;
        expect((event->fflags & NOTE_EXIT) != 0, "the client has ended");
        if (waitpid(client, &status, 0) != client) fail("waitpid");
        expect(status == event->data, "the event has the status that wait gives");
        return status;
      } else if (event->ident == (uintptr_t)listener && event->filter == EVFILT_READ) {
        accept_all();
      } else {
        serve_connection(event);
      }
    }
    forget_closed();
  }
}

// --- The client -------------------------------------------------------------------------------

static struct sockaddr_in address;

static int dial(void) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof address) != 0) fail("connect");
  return fd;
}

static void send_text(int fd, const char* line) {
  if (write(fd, line, strlen(line)) != (ssize_t)strlen(line)) fail(line);
}

static void expect_line(int fd, const char* line) {
  char got[LINE] = "";
  for (size_t size = 0; size < strlen(line); ++size) {
    if (read(fd, got + size, 1) != 1 || got[size] != line[size]) {
      fprintf(stderr, "client: received '%s' instead of '%s'\n", got, line);
      exit(EXIT_FAILURE);
    }
  }
}

static void expect_end(int fd) {
  char byte = 0;
  expect(read(fd, &byte, 1) == 0, "the server hangs up");
  close(fd);
}

static void expect_many_bytes(int fd) {
  char bytes[65536];
  for (size_t left = MANY_BYTES; left != 0;) {
    const ssize_t n = read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
    if (n <= 0) fail("read");
    for (ssize_t i = 0; i < n; ++i) expect(bytes[i] == 'x', "the bytes come as they were sent");
    left -= (size_t)n;
  }
  expect_line(fd, "\n");
}

static void write_file(const char* path, int flags, const char* text) {
  const int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) fail(path);
  close(fd);
}

static void abort_connection(int fd) {
  const struct linger at_once = {1, 0};
  if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) != 0) fail("SO_LINGER");
  close(fd);
}

static void replace_file(void) {
  char fresh[PATH_MAX];
  snprintf(fresh, sizeof fresh, "%s.new", followed_path);
  write_file(fresh, 0, "new");
  if (rename(fresh, followed_path) != 0) fail("rename");
}

static void talk(pid_t server) {
  const int first = dial();
  const int second = dial();
  int third = dial();
  send_text(first, "echo one\n");
  send_text(second, "echo two\necho t");
  send_text(third, "echo three\n");
  expect_line(third, "three\n");
  expect_line(second, "two\n");
  expect_line(first, "one\n");
  send_text(second, "wo again\n");
  expect_line(second, "two again\n");

  send_text(first, "follow\n");
  expect_line(first, "following\n");
  write_file(followed_path, O_APPEND, " more");
  expect_line(first, "grew 9\n");
  replace_file();
  expect_line(first, "replaced 3\n");
  write_file(followed_path, O_APPEND, "er");
  expect_line(first, "grew 5\n");
  for (int i = 0; i < 3; ++i) {
    if (kill(server, SIGHUP) != 0) fail("kill");
    expect_line(first, "hangups 1\n");
  }

  send_text(second, "wait 3\n");
  expect_line(second, "waited\n");
  send_text(second, "many\n");
  expect_many_bytes(second);

  // A new connection may get the fd of the closed one, but none of its events.
  for (int i = 0; i < 3; ++i) {
    abort_connection(third);
    third = dial();
    send_text(third, "echo again\n");
    expect_line(third, "again\n");
  }
  for (int i = 0; i < 3; ++i) {
    send_text(third, "worker\n");
    expect_line(third, "worker here\n");
    send_text(second, "echo the server is there\n");
    expect_line(second, "the server is there\n");
    send_text(third, "and so is the worker\n");
    expect_line(third, "and so is the worker\n");
    close(third);
    expect_line(first, "worker 5\n");
    third = dial();
  }

  send_text(second, "echo last words\n");
  if (shutdown(second, SHUT_WR) != 0) fail("shutdown");
  expect_line(second, "last words\n");
  expect_end(second);
  close(third);
  close(first);
}

// --- Both -------------------------------------------------------------------------------------

static int listen_somewhere(void) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t size = sizeof address;
  address.sin_family = AF_INET;
  address.sin_port = 0;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr*)&address, size) != 0 || listen(fd, 16) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &size) != 0)
    fail("listen");
  return fd;
}

// Connects to a port without a listener: the event reports it, and leaves SO_ERROR set.
static void check_refusal(void) {
  close(listen_somewhere());
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) fail("socket");
  set_blocking(fd, 0);
  int error = connect(fd, (struct sockaddr*)&address, sizeof address) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    struct kevent k;
    socklen_t size = sizeof error;
    EV_SET(&k, (uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, NULL);
    if (kevent(queue, &k, 1, &k, 1, NULL) != 1) fail("kevent");
    expect(k.ident == (uintptr_t)fd && (k.flags & EV_EOF) != 0, "the connection has ended");
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) fail("SO_ERROR");
  }
  expect(error == ECONNREFUSED, "SO_ERROR says that it was refused");
  close(fd);
}

int main(void) {
  const char* const parent = getenv("TEST_TMPDIR");
  char folder[PATH_MAX];
  char path[PATH_MAX + 8];
  snprintf(folder, sizeof folder, "%s/line_server.XXXXXX", parent != NULL ? parent : "/tmp");
  if (mkdtemp(folder) == NULL) fail(folder);
  snprintf(path, sizeof path, "%s/file", folder);
  followed_path = path;
  write_file(path, 0, "text");

  struct sigaction on_hangup;
  memset(&on_hangup, 0, sizeof on_hangup);
  on_hangup.sa_handler = on_hangup_signal;
  if (sigaction(SIGHUP, &on_hangup, NULL) != 0) fail("sigaction");
  signal(SIGPIPE, SIG_IGN);
  queue = kqueue();
  if (queue < 0) fail("kqueue");
  check_refusal();
  listener = listen_somewhere();
  set_blocking(listener, 0);
  require_change((uintptr_t)listener, EVFILT_READ, EV_ADD, 0, 0, NULL);
  require_change(SIGHUP, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
  open_followed();

  const pid_t server = getpid();
  const pid_t client = fork();
  if (client < 0) fail("fork");
  if (client == 0) {
    talk(server);
    exit(EXIT_SUCCESS);
  }
  require_change((uintptr_t)client, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS, 0, NULL);
  expect(serve(client) == 0, "the client got the right answers");

  expect(hangups_handled == 3 && hangups_reported == 3, "each signal was handled and reported");
  expect(resets == 3, "each reset was reported");
  for (connection_t* c = connections; c != NULL; c = c->next)
    if (c->fd >= 0) hang_up(c);
  forget_closed();
  close(followed);
  close(listener);
  close(queue);
  unlink(path);
  rmdir(folder);
  return EXIT_SUCCESS;
}
