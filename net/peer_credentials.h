// peer_credentials: the user, group and process at the other end of a Unix socket.
//
// They are those of the process at the time of its connect() or listen(): it may have changed its
// user since, or have passed the socket on.
#pragma once

#include <sys/types.h>

namespace kedge::net {

struct peer_credentials {
  uid_t user;
  gid_t group;
  pid_t process;
};

}  // namespace kedge::net
