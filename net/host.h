// host: in what the sockets of Linux and Darwin differ. The one file of this room that knows.
//
// Functions that give an int are as socket(2): -1 with errno. Every descriptor they make is
// close-on-exec and not 0, 1 or 2, where a program without standard streams would print into it.
// Every socket neither blocks nor raises SIGPIPE when it is written by `send_flags`. On Darwin,
// which has no call for that, another thread's fork may come between making a descriptor and its
// becoming close-on-exec.
//
// Any thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kedge/net/owned_fd.h"
#include "kedge/runtime/result.h"

namespace kedge::net {
struct peer_credentials;
}
namespace kedge::net::host {

// For send(2) and sendmsg(2), and for recvmsg(2) that may take descriptors along.
extern const int send_flags;
extern const int receive_flags;
// Whether Unix sockets have names outside of the file system.
extern const bool has_abstract_names;
// The option of TCP for the seconds until the first keep-alive probe.
extern const int keep_alive_idle;
// Whether connect(2) to a Unix socket whose backlog is full gives ECONNREFUSED, as if no process
// listened.
extern const bool full_backlog_refuses;

int make_socket(int family, int type) noexcept;
int make_socket_pair(int type, int (&fds)[2]) noexcept;
// As accept(2), which does not wait.
int accept(int listener, sockaddr* peer, socklen_t* size) noexcept;
// Returns whether accept(2) has reported an error of one connection instead of the connection.
// Linux passes on what the network has reported to the new socket (accept(2), "Error handling").
bool is_of_connection(int error) noexcept;
// Makes descriptors that recvmsg(2) has given close-on-exec, where `receive_flags` do not.
void keep_from_children(int fd) noexcept;

// Sets the length that structures of Darwin have in front.
void set_length(sockaddr* a, std::size_t size) noexcept;

// When the file was changed last, in nanoseconds.
std::int64_t change_time(const struct stat& file) noexcept;

// The identity of the process that made or connected the peer of a Unix socket.
result<peer_credentials> credentials_of(int fd) noexcept;

// Sends at most `size` bytes of `file` from `offset` on. Gives what was sent: fewer at the end of
// the file or if the socket's room ends. -1 with errno EAGAIN if there was no room at all.
ssize_t send_file(int socket, int file, off_t offset, std::size_t size) noexcept;

// Returns "process 12 (nginx)", whose socket listens on the address or is bound to it, or "" if the
// system does not tell.
std::string holder_of(const sockaddr* a, std::size_t size, int type);

// Sets `fds` to the sockets that launchd has opened under this name for this program, which owns
// them; to none where there is no launchd, or if it has none. Returns an errno, or 0.
int take_launchd_sockets(const char* name, std::vector<owned_fd>& fds);

}  // namespace kedge::net::host
