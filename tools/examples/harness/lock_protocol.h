/* lock_protocol: how the clients of the lock service speak with it, in C and in C++.
 *
 * A client asks for the lock by a message with one right: a send right to a port of its own, which
 * stands for its life. The reply, without data, grants the lock. The client gives it back by a
 * message with the same right. If the client dies, the lock is free. */
#pragma once

#define LOCK_SERVICE "org.example.lock"

enum {
  lock_request = 1000,
  lock_release = 1001,
  lock_granted = 1100,
};
