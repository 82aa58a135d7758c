// net.h: all that a program needs of net.
//
//     #include "kedge/net/net.h"
//
// A program that compiles many files includes what it uses instead.
#pragma once

#include "kedge/net/activation.h"
#include "kedge/net/address.h"
#include "kedge/net/any_stream.h"
#include "kedge/net/connect.h"
#include "kedge/net/daemon.h"
#include "kedge/net/errc.h"
#include "kedge/net/memory_stream.h"
#include "kedge/net/notifier.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/peer_credentials.h"
#include "kedge/net/pipe_stream.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/reader.h"
#include "kedge/net/received_fds.h"
#include "kedge/net/resolve.h"
#include "kedge/net/serve.h"
#include "kedge/net/standard_stream.h"
#include "kedge/net/stream.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/tcp_stream.h"
#include "kedge/net/udp_socket.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/net/unix_listener.h"
#include "kedge/net/unix_stream.h"
#include "kedge/net/write_all.h"
#include "kedge/net/writer.h"
