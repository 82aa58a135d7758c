#include "kedge/runtime/kqueue/descriptors/unix_socket_state.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

constexpr unsigned poll_share = 4;  // unix_writable(): a quarter of the buffer at most

struct question {
  nlmsghdr head;
  unix_diag_req body;
};

struct answer {
  unsigned backlog = 0;
  unsigned peer = 0;  // its inode; 0: none
  bool writable = true;
};

template <class Value>
Value value_of(const rtattr& attribute) noexcept {
  Value value{};
  if (RTA_PAYLOAD(&attribute) >= sizeof value)
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&attribute) + RTA_LENGTH(0),
                sizeof value);
  return value;
}

void take(const rtattr& attribute, answer& a) noexcept {
  switch (attribute.rta_type) {
    case UNIX_DIAG_RQLEN:
      a.backlog = value_of<unix_diag_rqlen>(attribute).udiag_rqueue;
      break;
    case UNIX_DIAG_PEER:
      a.peer = value_of<std::uint32_t>(attribute);
      break;
    case UNIX_DIAG_MEMINFO: {
      struct memory {
        std::uint32_t word[SK_MEMINFO_SNDBUF + 1];
      };
      const memory m = value_of<memory>(attribute);
      a.writable =
          std::uint64_t{m.word[SK_MEMINFO_WMEM_ALLOC]} * poll_share <= m.word[SK_MEMINFO_SNDBUF];
      break;
    }
    default:
      break;
  }
}

bool ask_about(int netlink, unsigned inode, answer& a) noexcept {
  question q{};
  q.head.nlmsg_len = sizeof q;
  q.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  q.head.nlmsg_flags = NLM_F_REQUEST;
  q.body.sdiag_family = AF_UNIX;
  q.body.udiag_states = ~0u;
  q.body.udiag_ino = inode;
  q.body.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO;
  q.body.udiag_cookie[0] = q.body.udiag_cookie[1] = ~0u;
  if (send(netlink, &q, sizeof q, 0) != static_cast<ssize_t>(sizeof q)) return false;

  // A request without NLM_F_DUMP is answered while it is sent: nothing to wait for.
  alignas(nlmsghdr) std::byte bytes[1024];
  const ssize_t size = recv(netlink, bytes, sizeof bytes, MSG_DONTWAIT);
  constexpr std::size_t start = NLMSG_LENGTH(sizeof(unix_diag_msg));
  nlmsghdr head{};
  if (size < static_cast<ssize_t>(start)) return false;
  std::memcpy(&head, bytes, sizeof head);
  if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY) return false;
  auto left = static_cast<std::size_t>(size) - start;
  const std::byte* at = bytes + NLMSG_ALIGN(start);
  while (left >= sizeof(rtattr)) {
    const rtattr& attribute = *reinterpret_cast<const rtattr*>(at);
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > left) break;
    take(attribute, a);
    const std::size_t step = RTA_ALIGN(attribute.rta_len);
    if (step > left) break;
    at += step;
    left -= step;
  }
  return true;
}

}  // namespace

bool unix_socket_state::ask(int fd) noexcept {
  const no_cancellation here;
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const int netlink = internal_fds::make(
      [] { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG); });
  if (netlink < 0) return false;
  answer own;
  const bool told = ask_about(netlink, static_cast<unsigned>(status.st_ino), own);
  if (told) {
    backlog = own.backlog;
    answer peer;
    if (own.peer != 0 && ask_about(netlink, own.peer, peer)) peer_is_stuck = !peer.writable;
  }
  internal_fds::close(netlink);
  return told;
}

}  // namespace kedge::kqueue
