// unix_socket_state of descriptor_state.h, by requests of sock_diag(7).
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/runtime/kqueue/descriptors/descriptor_state.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// unix_writable() of Linux: a socket is writable if at most a quarter of its buffer is in use.
constexpr unsigned writable_share = 4;

struct diag_request {
  nlmsghdr head;
  unix_diag_req body;
};

struct diag_reply {
  unsigned backlog = 0;
  unsigned peer = 0;  // the inode of the peer, 0 without one
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

void store(const rtattr& attribute, diag_reply& reply) noexcept {
  switch (attribute.rta_type) {
    case UNIX_DIAG_RQLEN:
      reply.backlog = value_of<unix_diag_rqlen>(attribute).udiag_rqueue;
      break;
    case UNIX_DIAG_PEER:
      reply.peer = value_of<std::uint32_t>(attribute);
      break;
    case UNIX_DIAG_MEMINFO: {
      struct memory {
        std::uint32_t word[SK_MEMINFO_SNDBUF + 1];
      };
      const memory m = value_of<memory>(attribute);
      reply.writable = std::uint64_t{m.word[SK_MEMINFO_WMEM_ALLOC]} * writable_share <=
                       m.word[SK_MEMINFO_SNDBUF];
      break;
    }
    default:
      break;
  }
}

// Reads the attributes that follow the head of a reply.
void parse(const std::byte* at, std::size_t left, diag_reply& reply) noexcept {
  while (left >= sizeof(rtattr)) {
    const rtattr& attribute = *reinterpret_cast<const rtattr*>(at);
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > left) break;
    store(attribute, reply);
    const std::size_t step = RTA_ALIGN(attribute.rta_len);
    if (step > left) break;
    at += step;
    left -= step;
  }
}

// Returns false if the kernel does not answer.
bool query_inode(int netlink, unsigned inode, diag_reply& reply) noexcept {
  diag_request request{};
  request.head.nlmsg_len = sizeof request;
  request.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.head.nlmsg_flags = NLM_F_REQUEST;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0u;
  request.body.udiag_ino = inode;
  request.body.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO;
  request.body.udiag_cookie[0] = request.body.udiag_cookie[1] = ~0u;
  if (send(netlink, &request, sizeof request, 0) != static_cast<ssize_t>(sizeof request))
    return false;

  // The kernel answers a request without NLM_F_DUMP while it is sent, so there is no need to wait.
  alignas(nlmsghdr) std::byte bytes[1024];
  const ssize_t size = recv(netlink, bytes, sizeof bytes, MSG_DONTWAIT);
  constexpr std::size_t start = NLMSG_LENGTH(sizeof(unix_diag_msg));
  nlmsghdr head{};
  if (size < static_cast<ssize_t>(start)) return false;
  std::memcpy(&head, bytes, sizeof head);
  if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY) return false;
  parse(bytes + NLMSG_ALIGN(start), static_cast<std::size_t>(size) - start, reply);
  return true;
}

}  // namespace

bool unix_socket_state::query(int fd) noexcept {
  const no_cancellation guard;
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const int netlink = internal_fds::make(
      [] { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG); });
  if (netlink < 0) return false;
  diag_reply own;
  const bool is_answered = query_inode(netlink, static_cast<unsigned>(status.st_ino), own);
  if (is_answered) {
    backlog = own.backlog;
    diag_reply peer;
    if (own.peer != 0 && query_inode(netlink, own.peer, peer)) peer_is_stuck = !peer.writable;
  }
  internal_fds::close(netlink);
  return is_answered;
}

}  // namespace kedge::kqueue
