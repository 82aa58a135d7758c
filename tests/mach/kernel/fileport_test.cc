// fileport_makeport(), fileport_makefd(): open files as send rights (kern_descrip.c,
// sys_fileport_makeport and sys_fileport_makefd).
#include <doctest/doctest.h>

#include <errno.h>
#include <fcntl.h>
#include <mach/mach_vm.h>
#include <pthread.h>
#include <sys/event.h>
#include <sys/fileport.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

struct pipe_ends {
  pipe_ends() { REQUIRE(pipe(ends) == 0); }
  ~pipe_ends() {
    close_reader();
    close_writer();
  }
  void close_reader() { end(ends[0]); }
  void close_writer() { end(ends[1]); }
  int reader() const { return ends[0]; }
  int writer() const { return ends[1]; }

 private:
  static void end(int& descriptor) {
    if (descriptor >= 0) close(descriptor);
    descriptor = -1;
  }
  int ends[2]{-1, -1};
};

fileport_t make_port(int descriptor) {
  fileport_t port = FILEPORT_NULL;
  CHECK(fileport_makeport(descriptor, &port) == 0);
  return port;
}

// Reads a byte. Returns -1 at the end of the file, -2 if no byte is available.
int next_byte(int descriptor) {
  fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  unsigned char byte = 0;
  const ssize_t got = read(descriptor, &byte, 1);
  return got == 1 ? byte : got == 0 ? -1 : -2;
}

void put(int descriptor, char byte) {
  REQUIRE(write(descriptor, &byte, 1) == 1);
}

// On Darwin a process is one task.
const auto several_tasks = doctest::skip(!kedge::mach::kernel::has_many_tasks());

}  // namespace

TEST_CASE("fileport_makefd gives a new close-on-exec descriptor for the file of a fileport") {
  pipe_ends both;
  const fileport_t port = make_port(both.writer());
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND);
  const int again = fileport_makefd(port);
  REQUIRE(again >= 0);
  CHECK(again != both.writer());
  CHECK((fcntl(again, F_GETFD) & FD_CLOEXEC) != 0);
  put(again, 'a');
  CHECK(next_byte(both.reader()) == 'a');
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND);
  close(again);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
}

TEST_CASE("the new descriptor shares the file offset") {
  char path[] = "/tmp/kedge-fileport-XXXXXX";
  const int file = mkstemp(path);
  REQUIRE(file >= 0);
  unlink(path);
  const fileport_t port = make_port(file);
  const int again = fileport_makefd(port);
  put(file, 'x');
  CHECK(lseek(again, 0, SEEK_CUR) == 1);
  close(file);
  close(again);
  mach_port_deallocate(mach_task_self(), port);
}

TEST_CASE("the file stays open until the last right to its fileport is gone") {
  pipe_ends both;
  const fileport_t port = make_port(both.writer());
  both.close_writer();
  CHECK(next_byte(both.reader()) == -2);
  SUBCASE("the right is deallocated") {
    REQUIRE(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  }
  SUBCASE("the right is destroyed with a message") {
    const mach_port_name_t to = new_service();
    REQUIRE(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_SEND}}).send() ==
            MACH_MSG_SUCCESS);
    CHECK(next_byte(both.reader()) == -2);
    REQUIRE(end_receive(to) == KERN_SUCCESS);
  }
  CHECK(next_byte(both.reader()) == -1);
}

TEST_CASE("a fileport sent in a message gives its receiver the file") {
  pipe_ends both;
  const mach_port_name_t to = new_service();
  const fileport_t port = make_port(both.writer());
  REQUIRE(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_SEND}}).send() ==
          MACH_MSG_SUCCESS);
  both.close_writer();
  message got;
  REQUIRE(got.receive(to) == MACH_MSG_SUCCESS);
  const int again = fileport_makefd(got.port_at(0));
  REQUIRE(again >= 0);
  mach_msg_destroy(&got.header());
  put(again, 'b');
  CHECK(next_byte(both.reader()) == 'b');
  close(again);
  CHECK(next_byte(both.reader()) == -1);
}

TEST_CASE("another task can open the file of a fileport, until that task ends" * several_tasks) {
  pipe_ends both;
  const auto other = kedge::mach::kernel::create_task();
  const fileport_t port = make_port(both.writer());
  const mach_port_t self = kedge::mach::kernel::task_self_port(other);
  REQUIRE(mach_port_insert_right(self, 0x00abcd03, port, MACH_MSG_TYPE_MOVE_SEND) == KERN_SUCCESS);
  mach_port_deallocate(mach_task_self(), self);
  both.close_writer();
  {
    const kedge::mach::kernel::current_task_guard there(other);
    const int again = fileport_makefd(0x00abcd03);
    CHECK(again >= 0);
    close(again);
  }
  CHECK(next_byte(both.reader()) == -2);
  kedge::mach::kernel::terminate_task(other);
  CHECK(next_byte(both.reader()) == -1);
}

TEST_CASE("makeport refuses a bad descriptor (EBADF) and a kqueue (EINVAL)") {
  fileport_t port = 7;
  errno = 0;
  CHECK(fileport_makeport(-1, &port) == -1);
  CHECK(errno == EBADF);
  CHECK(port == 7);
  const int queue = kqueue();
  CHECK(fileport_makeport(queue, &port) == -1);
  CHECK(errno == EINVAL);
  close(queue);
}

TEST_CASE(
    "makefd refuses names that are not fileports (EINVAL), and fails without descriptors "
    "(EMFILE)") {
  const auto fails = [](mach_port_name_t name) {
    errno = 0;
    return fileport_makefd(name) == -1 ? errno : 0;
  };
  CHECK(fails(MACH_PORT_NULL) == EINVAL);
  CHECK(fails(MACH_PORT_DEAD) == EINVAL);
  CHECK(fails(0x00fff703) == EINVAL);
  CHECK(fails(new_service()) == EINVAL);
  CHECK(fails(mach_task_self()) == EINVAL);
  pipe_ends both;
  const fileport_t port = make_port(both.writer());
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 3;  // these are open
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(fails(port) == EMFILE);
  fileport_t another = FILEPORT_NULL;
  const int made = fileport_makeport(both.writer(), &another);
  const int error = errno;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK((made == 0 || error == EAGAIN));
  mach_port_deallocate(mach_task_self(), port);
}

TEST_CASE("a message to a fileport is answered by the kernel") {
  pipe_ends both;
  const fileport_t port = make_port(both.writer());
  const mach_port_name_t reply_to = new_port();
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 5)
            .reply_to(reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE)
            .send() == MACH_MSG_SUCCESS);
  CHECK(next_id(reply_to) == 105);
  mach_port_deallocate(mach_task_self(), port);
}

TEST_CASE(
    "a fork's child does not have the parent's fileports, and does not keep their files open") {
  pipe_ends both;
  const fileport_t port = make_port(both.writer());
  both.close_writer();
  pipe_ends lives, begun;
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const bool right = fileport_makefd(port) == -1 && errno == EINVAL;
    lives.close_writer();
    put(begun.writer(), 'c');
    // Waits until the parent has checked.
    char byte = 0;
    const ssize_t ended = read(lives.reader(), &byte, 1);
    _exit(right && ended == 0 ? 0 : 1);
  }
  char byte = 0;
  REQUIRE(read(begun.reader(), &byte, 1) == 1);
  REQUIRE(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK(next_byte(both.reader()) == -1);
  lives.close_writer();
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

namespace {

struct cancelled_thread {
  fileport_t port;
  pid_t child = -1;
  kern_return_t result = KERN_FAILURE;
  bool returned = false;

  static void* run(void* self) {
    cancelled_thread& own = *static_cast<cancelled_thread*>(self);
    pthread_cancel(pthread_self());
    own.child = fork();
    if (own.child == 0) _exit(7);
    own.result = mach_port_deallocate(mach_task_self(), own.port);
    own.returned = true;
    pthread_testcancel();
    return nullptr;
  }
};

}  // namespace

TEST_CASE(
    "fork and the release of a fileport are not cancellation points, and the child is not "
    "cancelled") {
  pipe_ends both;
  cancelled_thread thread{make_port(both.writer())};
  pthread_t id;
  REQUIRE(pthread_create(&id, nullptr, cancelled_thread::run, &thread) == 0);
  void* result = nullptr;
  REQUIRE(pthread_join(id, &result) == 0);
  CHECK(result == PTHREAD_CANCELED);
  CHECK(thread.returned);
  CHECK(thread.result == KERN_SUCCESS);
  int status = 0;
  REQUIRE(waitpid(thread.child, &status, 0) == thread.child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
  both.close_writer();
  CHECK(next_byte(both.reader()) == -1);
}

TEST_CASE("no fd that the kernel keeps is 0, 1 or 2, and fileport_makefd gives the lowest") {
  const pipe_ends pipe;
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (const int each : {0, 1, 2}) close(each);
    const mach_port_t task = mach_task_self();
    const auto none_is_open = [] {
      return fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
    };
    mach_vm_address_t memory = 0, other = 0;
    memory_object_size_t size = 1u << 20;
    mach_port_t entry = MACH_PORT_NULL;
    fileport_t port = MACH_PORT_NULL;
    if (mach_vm_allocate(task, &memory, size, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) _exit(1);
    if (!none_is_open()) _exit(2);
    if (mach_make_memory_entry_64(task, &size, memory, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL) !=
        KERN_SUCCESS) {
      _exit(3);
    }
    if (!none_is_open()) _exit(4);
    if (mach_vm_map(task, &other, size, 0, VM_FLAGS_ANYWHERE, entry, 0, 0, VM_PROT_DEFAULT,
                    VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) != KERN_SUCCESS) {
      _exit(5);
    }
    if (!none_is_open()) _exit(6);
    if (fileport_makeport(pipe.reader(), &port) != 0) _exit(7);
    if (!none_is_open()) _exit(8);
    _exit(fileport_makefd(port) == 0 ? 0 : 9);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(WIFEXITED(status));
}
