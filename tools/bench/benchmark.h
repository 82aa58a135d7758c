// benchmark: something done n times, whose cost per time is to be known.
#pragma once

#include <cstdint>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

// How it is measured.
struct conditions {
  std::uint64_t n = 100'000;   // unless -n says otherwise
  bool one_thread = true;      // only then it can be counted from outside
  const char* than = nullptr;  // the benchmark that its time is compared with
};

struct benchmark {
  const char* name;  // those of a group begin with its name and "_"
  const char* what;  // is done n times
  void (*run)(std::uint64_t n);
  conditions on{};
};

template <kedge::task<> (*work)(kedge::loop& loop, std::uint64_t n)>
void on_a_loop(std::uint64_t n) {
  kedge::loop loop;
  loop.run(work(loop, n));
}

kedge::task<> await_children(kedge::loop& loop, std::uint64_t n);
kedge::task<> yield_turns(kedge::loop& loop, std::uint64_t n);
kedge::task<> pass_messages(kedge::loop& loop, std::uint64_t n);
kedge::task<> make_round_trips(kedge::loop& loop, std::uint64_t n);

void send_and_receive(std::uint64_t n);
void send_rights(std::uint64_t n);
void wake_by_futex(std::uint64_t n);
void ask_a_thread(std::uint64_t n);
void stream_one(std::uint64_t n);
void stream_two(std::uint64_t n);
void make_ports(std::uint64_t n);
void look_up_among_few(std::uint64_t n);
void look_up_among_many(std::uint64_t n);
void copy_memory(std::uint64_t n);
void send_memory(std::uint64_t n);
void send_memory_and_read(std::uint64_t n);

inline constexpr benchmark benchmarks[] = {
    {"child", "await a child task", on_a_loop<await_children>},
    {"yield", "switch to another task through the ready queue", on_a_loop<yield_turns>},
    {"message", "a Mach message to another task, which waits for it", on_a_loop<pass_messages>},
    {"rt", "a round trip of 64 bytes between two tasks over a socket pair",
     on_a_loop<make_round_trips>},

    {"mach_send", "send 64 bytes to a port and receive them", send_and_receive},
    {"mach_right", "the same with a send right moved along", send_rights, {.than = "mach_send"}},
    {"mach_futex",
     "a round trip of two wake-ups by futex, on one core",
     wake_by_futex,
     {.one_thread = false}},
    {"mach_ask",
     "a round trip of 64 bytes between two threads on one core",
     ask_a_thread,
     {.one_thread = false, .than = "mach_futex"}},
    {"mach_pair",
     "64 bytes from a thread to another on the same core",
     stream_one,
     {.one_thread = false}},
    {"mach_pairs",
     "the same with a second such pair on another core",
     stream_two,
     {.one_thread = false, .than = "mach_pair"}},
    {"mach_memcpy", "copy 64 MiB to other memory", copy_memory, {.n = 20}},
    {"mach_memory",
     "send 64 MiB as a virtual copy, receive and release it",
     send_memory,
     {.n = 20, .than = "mach_memcpy"}},
    {"mach_memory_read",
     "the same, and read every page of it",
     send_memory_and_read,
     {.n = 20, .than = "mach_memcpy"}},
    {"mach_port", "a port more in the space", make_ports, {.n = 1'000'000}},
    {"mach_name", "look a name up among 1,000", look_up_among_few},
    {"mach_names", "look a name up among 1,000,000", look_up_among_many, {.than = "mach_name"}},
};
