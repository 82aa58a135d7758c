// benchmark: an operation that is done n times to measure its cost. The table of all benchmarks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "descriptor_pool.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

// The benchmarks that the time of one is compared with, in the same run.
struct peers {
  constexpr peers() = default;
  constexpr peers(const char* a, const char* b = nullptr, const char* c = nullptr)
      : names{a, b, c} {}
  const char* names[3]{};
};

struct conditions {
  std::uint64_t n = 100'000;  // the default of -n
  bool one_thread = true;     // instructions are counted only with one thread
  peers than{};
  std::string (*lacks)() = nullptr;  // says what this machine does not allow, or nothing
  std::uint64_t most = std::numeric_limits<std::uint64_t>::max();  // the largest n
  std::size_t size = 0;  // the bytes of an object, which are printed instead of a measurement
  double (*late)(std::uint64_t n) = nullptr;  // gives microseconds, likewise
  bool held = false;                          // its counts are held, though it is not of `runtime`
};

struct benchmark {
  const char* name;  // GROUP_NAME
  const char* operation;
  void (*run)(std::uint64_t n);
  conditions on{};
};

// Makes the loop ask the kernel after a number of turns alone, so that no count depends on the
// speed of the machine.
inline void count_turns(kedge::loop& loop) noexcept {
  loop.set_kernel_interval(std::chrono::hours(1));
}

template <kedge::task<> (*work)(kedge::loop& loop, std::uint64_t n)>
void on_a_loop(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  loop.run(work(loop, n));
}

kedge::task<> await_children(kedge::loop& loop, std::uint64_t n);
kedge::task<> yield_turns(kedge::loop& loop, std::uint64_t n);
kedge::task<> pass_messages(kedge::loop& loop, std::uint64_t n);
kedge::task<> make_round_trips(kedge::loop& loop, std::uint64_t n);

kedge::task<> fan_in_one(kedge::loop& loop, std::uint64_t n);
kedge::task<> fan_in_many(kedge::loop& loop, std::uint64_t n);
kedge::task<> call_a_service(kedge::loop& loop, std::uint64_t n);
kedge::task<> call_a_typed_service(kedge::loop& loop, std::uint64_t n);
kedge::task<> serve_one_client(kedge::loop& loop, std::uint64_t n);
kedge::task<> serve_many_clients(kedge::loop& loop, std::uint64_t n);
kedge::task<> pass_rights(kedge::loop& loop, std::uint64_t n);
void pass_descriptors(std::uint64_t n);
inline constexpr std::uint64_t most_rights = 16383;
void take_rights(std::uint64_t n);
inline constexpr std::uint64_t most_watchers = 10'000;
void tell_of_a_death(std::uint64_t n);

kedge::task<> time_ready_leaves(kedge::loop& loop, std::uint64_t n);
kedge::task<> time_out_one_frame(kedge::loop& loop, std::uint64_t n);
kedge::task<> time_out_five_frames(kedge::loop& loop, std::uint64_t n);
kedge::task<> race_leaves(kedge::loop& loop, std::uint64_t n);
kedge::task<> spawn_in_scope(kedge::loop& loop, std::uint64_t n);
kedge::task<> open_scopes(kedge::loop& loop, std::uint64_t n);
kedge::task<> fire_sleeps(kedge::loop& loop, std::uint64_t n);
kedge::task<> hold_descriptors(kedge::loop& loop, std::uint64_t n);
kedge::task<> hand_a_mutex_over(kedge::loop& loop, std::uint64_t n);
template <std::size_t capacity>
kedge::task<> pass_items(kedge::loop& loop, std::uint64_t n);
inline constexpr std::uint64_t most_children = 8000;
void cancel_tasks(std::uint64_t n);
void cancel_leaves(std::uint64_t n);
kedge::task<> post_across_threads(kedge::loop& loop, std::uint64_t n);
void queue_across_threads(std::uint64_t n);
double lateness_of_sleepers(std::uint64_t n);
void post_to_own_thread(std::uint64_t n);
void post_to_sleeping_loop(std::uint64_t n);
void echo_over_tcp(std::uint64_t n);
void echo_by_net(std::uint64_t n);
template <std::size_t size>
void echo_to_many_by_net(std::uint64_t n);
void echo_lines_by_net(std::uint64_t n);
void accept_by_net(std::uint64_t n);
inline constexpr std::uint64_t most_clients = 8192;
void hold_connections(std::uint64_t n);
template <std::size_t connections, std::size_t size>
void echo_by_epoll(std::uint64_t n);
void accept_by_epoll(std::uint64_t n);
void hold_sleepers(std::uint64_t n);
void jump_in_time(std::uint64_t n);

// What a task's frame holds while the task awaits an A.
template <class A>
inline constexpr std::size_t size_in_frame = sizeof(
    decltype(std::declval<kedge::task<>::promise_type&>().await_transform(std::declval<A>())));
using reading = decltype(std::declval<kedge::descriptor&>().read_some(std::span<std::byte>()));

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

template <kedge::task<> (*work)(kedge::loop& loop, std::size_t size, std::uint64_t n),
          std::size_t size>
void on_a_loop(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  loop.run(work(loop, size, n));
}
kedge::task<> move_memory(kedge::loop& loop, std::size_t size, std::uint64_t n);
kedge::task<> write_to_pipe(kedge::loop& loop, std::size_t size, std::uint64_t n);
kedge::task<> write_to_socket(kedge::loop& loop, std::size_t size, std::uint64_t n);
kedge::task<> copy_to_queue(kedge::loop& loop, std::size_t size, std::uint64_t n);

template <std::size_t size, std::size_t ready>
void wait_by_epoll(std::uint64_t n);
template <std::size_t size, std::size_t ready>
void wait_by_kevent(std::uint64_t n);
void wait_by_kevent64(std::uint64_t n);
void wait_by_kqueue_handle(std::uint64_t n);
void take_nothing_by_fd(std::uint64_t n);
void take_nothing_by_handle(std::uint64_t n);
void wait_with_data(std::uint64_t n);
void read_by_epoll(std::uint64_t n);
void read_by_kevent(std::uint64_t n);
void read_with_marks(std::uint64_t n);
void watch_by_epoll(std::uint64_t n);
void watch_by_kevent(std::uint64_t n);
void wake_self_by_eventfd(std::uint64_t n);
void wake_thread_by_eventfd(std::uint64_t n);
void wake_self_by_user_event(std::uint64_t n);
void wake_self_unpolled(std::uint64_t n);
void wake_thread_by_user_event(std::uint64_t n);
void order_deadlines(std::uint64_t n);
void arm_timers(std::uint64_t n);
void fire_timers(std::uint64_t n);

// Returns `name`, a benchmark of epoll, on systems that have epoll, else null.
constexpr const char* by_epoll([[maybe_unused]] const char* name) {
#if defined(__linux__)
  return name;
#else
  return nullptr;
#endif
}

inline constexpr benchmark benchmarks[] = {
    {"child", "await a child task", on_a_loop<await_children>},
    {"yield", "switch to another task through the ready queue", on_a_loop<yield_turns>},
    {"rt", "a round trip of 64 bytes between two tasks over a socket pair",
     on_a_loop<make_round_trips>},

    {"post_queue",
     "an item to another thread through a lock-free list",
     queue_across_threads,
     {.one_thread = false}},
    {"post_awake",
     "post from another thread to a loop that is awake",
     on_a_loop<post_across_threads>,
     {.one_thread = false, .than = "post_queue"}},
    {"sleep_late",
     "the 99th percentile by which sleepers are late that are due within a second",
     nullptr,
     {.n = 1'000'000, .late = lateness_of_sleepers}},

    {"runtime_child", "create and await a child task", on_a_loop<await_children>, {.n = 6000}},
    {"runtime_yield", "yield to another task", on_a_loop<yield_turns>, {.n = 6000}},
    {"runtime_ready_leaf",
     "with_timeout around a leaf that is ready",
     on_a_loop<time_ready_leaves>,
     {.n = 6000}},
    {"runtime_time_out_1",
     "with_timeout that ends a task of one frame",
     on_a_loop<time_out_one_frame>,
     {.n = 1000}},
    {"runtime_time_out_5",
     "the same with five frames",
     on_a_loop<time_out_five_frames>,
     {.n = 1000}},
    {"runtime_any_leaf", "when_any of two leaves", on_a_loop<race_leaves>, {.n = 6000}},
    {"runtime_spawn",
     "spawn, run and end a child in a live scope",
     on_a_loop<spawn_in_scope>,
     {.n = 6400}},
    {"runtime_scope", "with_scope with one child", on_a_loop<open_scopes>, {.n = 6000}},
    {"runtime_cancel_task",
     "cancel a sleeping child",
     cancel_tasks,
     {.n = 2000, .most = most_children - 1000}},
    {"runtime_cancel_leaf",
     "cancel a child that is a leaf",
     cancel_leaves,
     {.n = 2000, .most = most_children - 1000}},
    {"runtime_sleep",
     "sleep_for that fires, the kernel asked once",
     on_a_loop<fire_sleeps>,
     {.n = 6000}},
    {"runtime_jump", "a jump of virtual time to the next of 100 sleeps", jump_in_time},
    {"runtime_post", "post to the loop's own thread and run", post_to_own_thread, {.n = 6400}},
    {"runtime_post_asleep",
     "post to a sleeping loop: a write, and the read and wait of its next drive",
     post_to_sleeping_loop,
     {.n = 6000}},
    {"runtime_round_trip",
     "64 bytes to another task and back over a socket pair",
     on_a_loop<make_round_trips>,
     {.n = 6000}},
    {"runtime_echo",
     "echo 64 bytes over TCP, with 64 connections, by two calls of a client",
     echo_over_tcp,
     {.n = 6400}},
    {"runtime_mutex",
     "lock a mutex that another task holds, yield, unlock",
     on_a_loop<hand_a_mutex_over>,
     {.n = 6000}},
    {"runtime_channel_1",
     "an item through a channel of capacity 1",
     on_a_loop<pass_items<1>>,
     {.n = 6000}},
    {"runtime_channel_64", "the same of capacity 64", on_a_loop<pass_items<64>>, {.n = 6400}},
    {"runtime_sleeper", "hold one more sleeping child", hold_sleepers, {.n = 6000}},
    {"runtime_idle",
     "hold one more descriptor that has been awaited",
     on_a_loop<hold_descriptors>,
     {.n = 6000, .most = 15'000}},
    {"runtime_reading",
     "a waiting read, in the frame of its task",
     nullptr,
     {.size = size_in_frame<reading>}},

#if defined(__linux__)
    {"kqueue_epoll_10", "epoll_wait, one of 10 descriptors is ready", wait_by_epoll<10, 1>},
    {"kqueue_epoll_1000", "the same with 1,000", wait_by_epoll<1000, 1>},
    {"kqueue_epoll_most",
     "the same with 100,000",
     wait_by_epoll<0, 1>,
     {.lacks = too_few_descriptors}},
    {"kqueue_epoll_ten", "the same, ten of 1,000 are ready", wait_by_epoll<1000, 10>},
    {"kqueue_epoll_read",
     "a byte over a socket pair: write, epoll_wait (EPOLLIN, EPOLLOUT, EPOLLET), read",
     read_by_epoll},
    {"kqueue_epoll_watch", "watch one more descriptor by epoll", watch_by_epoll},
    {"kqueue_eventfd_own", "write an eventfd and take it by epoll_wait", wake_self_by_eventfd},
    {"kqueue_eventfd_ask",
     "a round trip of two wakeups by eventfd and epoll_wait, on one core",
     wake_thread_by_eventfd,
     {.one_thread = false}},
#endif
    {"kqueue_wait_10",
     "kevent, one of 10 descriptors is ready",
     wait_by_kevent<10, 1>,
     {.than = by_epoll("kqueue_epoll_10")}},
    {"kqueue_wait_1000",
     "the same with 1,000",
     wait_by_kevent<1000, 1>,
     {.than = by_epoll("kqueue_epoll_1000")}},
    {"kqueue_wait_most",
     "the same with 100,000",
     wait_by_kevent<0, 1>,
     {.than = by_epoll("kqueue_epoll_most"), .lacks = too_few_descriptors}},
    {"kqueue_wait_ten",
     "the same, ten of 1,000 are ready",
     wait_by_kevent<1000, 10>,
     {.than = by_epoll("kqueue_epoll_ten")}},
    {"kqueue_wait_64",
     "kevent64, one of 10 descriptors is ready",
     wait_by_kevent64,
     {.than = by_epoll("kqueue_epoll_10")}},
    {"kqueue_wait_handle",
     "kevent64 by a handle, one of 10 descriptors is ready",
     wait_by_kqueue_handle,
     {.than = by_epoll("kqueue_epoll_10")}},
    {"kqueue_none", "take_active while nothing is active", take_nothing_by_fd},
    {"kqueue_none_handle", "the same by a handle", take_nothing_by_handle},
    {"kqueue_wait_data",
     "kevent with `data`, one of 10 descriptors is ready",
     wait_with_data,
     {.than = by_epoll("kqueue_epoll_10")}},
    {"kqueue_read",
     "a byte over a socket pair: write, kevent (READ, WRITE, EV_CLEAR), read",
     read_by_kevent,
     {.than = by_epoll("kqueue_epoll_read")}},
    {"kqueue_read_marks",
     "the same with oob_marks",
     read_with_marks,
     {.than = by_epoll("kqueue_epoll_read")}},
    {"kqueue_watch",
     "watch one more descriptor by kevent",
     watch_by_kevent,
     {.than = by_epoll("kqueue_epoll_watch"), .lacks = too_few_descriptors}},
    {"kqueue_user_own",
     "trigger a user event and take it by kevent",
     wake_self_by_user_event,
     {.than = by_epoll("kqueue_eventfd_own")}},
    {"kqueue_user_unpolled",
     "the same in a kqueue that cannot be polled",
     wake_self_unpolled,
     {.than = by_epoll("kqueue_eventfd_own")}},
    {"kqueue_user_ask",
     "a round trip of two user events between two threads on one core",
     wake_thread_by_user_event,
     {.one_thread = false, .than = by_epoll("kqueue_eventfd_ask")}},
    {"kqueue_heap", "put a deadline into a std::priority_queue and take it out", order_deadlines},
    {"kqueue_timer_add", "add one more timer to the kqueue", arm_timers},
    {"kqueue_timer_fire",
     "the same, and take its event among all the others",
     fire_timers,
     {.than = "kqueue_timer_add"}},

#if defined(__linux__)
    {"net_epoll_64",
     "echo 64 bytes over TCP by epoll, with 64 connections",
     echo_by_epoll<64, 64>,
     {.n = 32'000}},
    {"net_epoll_1000", "the same with 1,000 connections", echo_by_epoll<1000, 64>, {.n = 32'000}},
    {"net_epoll_large",
     "echo 16 KiB over TCP by epoll, with 1,000 connections",
     echo_by_epoll<1000, 16384>,
     {.n = 16'000}},
    {"net_epoll_accept",
     "accept a connection of one message by epoll",
     accept_by_epoll,
     {.n = 3200}},
#endif
    {"net_echo_64",
     "serve(): echo 64 bytes over TCP, with 64 connections",
     echo_by_net,
     {.n = 32'000, .than = by_epoll("net_epoll_64"), .held = true}},
    {"net_echo_1000",
     "the same with 1,000 connections, by a pool of buffers",
     echo_to_many_by_net<64>,
     {.n = 32'000, .than = by_epoll("net_epoll_1000"), .held = true}},
    {"net_echo_large",
     "the same of 16 KiB",
     echo_to_many_by_net<16384>,
     {.n = 16'000, .than = by_epoll("net_epoll_large"), .held = true}},
    {"net_line",
     "echo a line of 64 bytes by a reader, with 64 connections",
     echo_lines_by_net,
     {.n = 32'000, .than = by_epoll("net_epoll_64"), .held = true}},
    {"net_accept",
     "serve(): accept a connection of one message, and end it",
     accept_by_net,
     {.n = 3200, .than = by_epoll("net_epoll_accept"), .held = true}},
    {"net_idle",
     "hold one more TCP connection that waits for a message",
     hold_connections,
     {.n = 6000, .most = most_clients - 1000, .held = true}},

    {"mach_message",
     "a message of 64 bytes to another task that waits for it",
     on_a_loop<pass_messages>,
     {.n = 6400, .held = true}},
    {"mach_fan_in_1",
     "the same, received from a set with one tagged port",
     on_a_loop<fan_in_one>,
     {.n = 6400, .held = true}},
    {"mach_fan_in_1000",
     "the same of a set with 1,000, to each in turn",
     on_a_loop<fan_in_many>,
     {.n = 6400, .held = true}},
    {"mach_call",
     "call a service on the loop and get its reply, of 64 bytes each",
     on_a_loop<call_a_service>,
     {.n = 6400, .than = "rt", .held = true}},
    {"mach_typed_call",
     "the same as a typed request and reply",
     on_a_loop<call_a_typed_service>,
     {.n = 6400, .than = "mach_call", .held = true}},
    {"mach_serve_1",
     "the same of a client with a connection, answered by serve()",
     on_a_loop<serve_one_client>,
     {.n = 6400, .than = "mach_typed_call", .held = true}},
    {"mach_serve_1000",
     "the same of 1,000 clients, each in turn",
     on_a_loop<serve_many_clients>,
     {.n = 6400, .than = "mach_serve_1", .held = true}},
    {"mach_scm_right", "pass an fd over a socket pair by SCM_RIGHTS", pass_descriptors},
    {"mach_pass_right",
     "pass a send right in a message and take it out",
     on_a_loop<pass_rights>,
     {.n = 6400, .than = "mach_scm_right", .held = true}},
    {"mach_take_right",
     "take one of the 16,383 rights of a message",
     take_rights,
     {.n = 6400, .most = most_rights - 1000, .held = true}},
    {"mach_death",
     "tell one of 10,000 children of the death it waits for, and end it",
     tell_of_a_death,
     {.n = 6400, .most = most_watchers - 1000, .held = true}},

    {"mach_send", "send 64 bytes to a port and receive them", send_and_receive},
    {"mach_right", "the same with a send right in the message", send_rights, {.than = "mach_send"}},
    {"mach_futex",
     "a round trip of two wakeups by futex, on one core",
     wake_by_futex,
     {.one_thread = false}},
    {"mach_ask",
     "a round trip of 64 bytes between two threads on one core",
     ask_a_thread,
     {.one_thread = false, .than = "mach_futex"}},
    {"mach_pair",
     "send 64 bytes from a thread to another one on the same core",
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
    {"move_1k",
     "move 1 KiB of memory in a message between two ends on a loop",
     on_a_loop<move_memory, 1u << 10>,
     {.n = 2000, .than = {"move_1k_pipe", "move_1k_socket", "move_1k_queue"}}},
    {"move_1k_pipe", "the same through a pipe", on_a_loop<write_to_pipe, 1u << 10>, {.n = 2000}},
    {"move_1k_socket",
     "the same through a socket pair",
     on_a_loop<write_to_socket, 1u << 10>,
     {.n = 2000}},
    {"move_1k_queue",
     "the same through a queue that copies it in and out",
     on_a_loop<copy_to_queue, 1u << 10>,
     {.n = 2000}},
    {"move_64k",
     "move 64 KiB of memory in a message between two ends on a loop",
     on_a_loop<move_memory, 64u << 10>,
     {.n = 400, .than = {"move_64k_pipe", "move_64k_socket", "move_64k_queue"}}},
    {"move_64k_pipe", "the same through a pipe", on_a_loop<write_to_pipe, 64u << 10>, {.n = 400}},
    {"move_64k_socket",
     "the same through a socket pair",
     on_a_loop<write_to_socket, 64u << 10>,
     {.n = 400}},
    {"move_64k_queue",
     "the same through a queue that copies it in and out",
     on_a_loop<copy_to_queue, 64u << 10>,
     {.n = 400}},
    {"move_1m",
     "move 1 MiB of memory in a message between two ends on a loop",
     on_a_loop<move_memory, 1u << 20>,
     {.n = 100, .than = {"move_1m_pipe", "move_1m_socket", "move_1m_queue"}}},
    {"move_1m_pipe", "the same through a pipe", on_a_loop<write_to_pipe, 1u << 20>, {.n = 100}},
    {"move_1m_socket",
     "the same through a socket pair",
     on_a_loop<write_to_socket, 1u << 20>,
     {.n = 100}},
    {"move_1m_queue",
     "the same through a queue that copies it in and out",
     on_a_loop<copy_to_queue, 1u << 20>,
     {.n = 100}},
    {"move_64m",
     "move 64 MiB of memory in a message between two ends on a loop",
     on_a_loop<move_memory, 64u << 20>,
     {.n = 4, .than = {"move_64m_pipe", "move_64m_socket", "move_64m_queue"}}},
    {"move_64m_pipe", "the same through a pipe", on_a_loop<write_to_pipe, 64u << 20>, {.n = 4}},
    {"move_64m_socket",
     "the same through a socket pair",
     on_a_loop<write_to_socket, 64u << 20>,
     {.n = 4}},
    {"move_64m_queue",
     "the same through a queue that copies it in and out",
     on_a_loop<copy_to_queue, 64u << 20>,
     {.n = 4}},
    {"mach_port", "make one more port in the space", make_ports, {.n = 1'000'000}},
    {"mach_name", "look a name up among 1,000", look_up_among_few},
    {"mach_names", "look a name up among 1,000,000", look_up_among_many, {.than = "mach_name"}},
};
