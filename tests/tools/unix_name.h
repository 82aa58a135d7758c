// unix_name(): the address of a Unix socket at a path.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

inline sockaddr_un unix_name(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  return name;
}
