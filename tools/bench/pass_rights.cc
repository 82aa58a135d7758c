#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "benchmark.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"

namespace mach = kedge::mach;

namespace {

constexpr mach_msg_id_t right_id = 1;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// Room for one fd beside the payload of a message.
struct fd_message {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr header{};
  fd_message() {
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
  fd_message(const fd_message&) = delete;
  fd_message& operator=(const fd_message&) = delete;
};

void send_fd(int by, int fd) {
  fd_message m;
  cmsghdr* const part = CMSG_FIRSTHDR(&m.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  if (::sendmsg(by, &m.header, 0) != 1) fail("sendmsg");
}

int receive_fd(int from) {
  fd_message m;
  if (::recvmsg(from, &m.header, 0) != 1) fail("recvmsg");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m.header)), sizeof fd);
  return fd;
}

}  // namespace

// The right goes through the queue of a port and is taken out of the message.
kedge::task<> pass_rights(kedge::loop&, std::uint64_t n) {
  const auto port = mach::receive_right::make();
  const mach::send_right to = port.make_send();
  const auto other = mach::receive_right::make();
  mach::send_right passed = other.make_send();
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mach::send(to, mach::message(right_id, std::move(passed)))).value();
    mach::received m = (co_await port.receive()).value();
    passed = m.take_send(0);
  }
}

// The same with an fd over a socket pair, by the plain calls.
void pass_descriptors(std::uint64_t n) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) fail("socketpair");
  int passed = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (std::uint64_t i = 0; i < n; ++i) {
    send_fd(ends[0], passed);
    ::close(passed);
    passed = receive_fd(ends[1]);
  }
  for (const int fd : {ends[0], ends[1], passed}) ::close(fd);
}
