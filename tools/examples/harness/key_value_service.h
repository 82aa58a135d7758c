// key_value_service: a store whose clients can wait for a change of a key.
#pragma once

#include <mach/message.h>

namespace key_value {

inline constexpr const char* service_name = "org.example.store";

// Requests, and their replies, which have the id of the request and 100.
inline constexpr mach_msg_id_t put = 2000;   // a key and a value; the reply has the version
inline constexpr mach_msg_id_t get = 2001;   // a key; the reply has the version and the value
inline constexpr mach_msg_id_t wait = 2002;  // a key and a version; answered by a later one
inline constexpr mach_msg_id_t reply_to(mach_msg_id_t request) {
  return request + 100;
}

// Serves until it is killed. "--hasty" has a defect: a client that asks to wait is made to wait,
// even if the key has changed since the client has read it.
int main(int argc, char** argv);

// Counts a key up `argv[1]` times.
int counter_main(int argc, char** argv);

// Reads the key, and waits for its changes until the count is `argv[1]`.
int reader_main(int argc, char** argv);

}  // namespace key_value
