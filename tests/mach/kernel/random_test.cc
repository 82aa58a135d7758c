// Three threads make random calls in three tasks, which end and are replaced during the calls. No
// call may crash or wait for ever, and in the end every right, port, message, descriptor and page
// is gone.
#include <doctest/doctest.h>

#include <fcntl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "random_draw.h"
#include "soak.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

constexpr unsigned task_count = 3, thread_count = 3, turns = 150;
constexpr mach_port_name_t known_name = 0x00abcd03;  // names the witness in each task
constexpr vm_size_t large = 1u << 20;                // shared by virtual copies

// The tasks on which the threads act.
class world {
 public:
  explicit world(mach_port_name_t witness) : witness_(witness) {
    for (unsigned slot = 0; slot < task_count; ++slot) replace(slot);
  }
  ~world() {
    for (auto& each : tasks_) terminate_task({each});
  }
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  task at(unsigned slot) const { return {tasks_[slot]}; }

  // Ends the task in `slot` and puts a new one there, with a send right to the witness.
  void replace(unsigned slot) {
    const current_task_guard own({});
    const task fresh = create_task();
    set_guard_behaviour(fresh, guard_behaviour::record);
    const mach_port_t self = task_self_port(fresh);
    mach_port_insert_right(self, known_name, witness_, MACH_MSG_TYPE_MAKE_SEND);
    mach_port_deallocate(mach_task_self(), self);
    terminate_task({tasks_[slot].exchange(fresh.id)});
  }

  // Gives the process's own task a send right to a port of the task, to see the port die.
  void watch(unsigned slot, mach_port_name_t name) {
    const current_task_guard own({});
    const mach_port_t self = task_self_port(at(slot));
    mach_port_t right = MACH_PORT_NULL;
    mach_msg_type_name_t type = 0;
    if (mach_port_extract_right(self, name, MACH_MSG_TYPE_MAKE_SEND, &right, &type) ==
        KERN_SUCCESS) {
      const std::lock_guard hold(lock_);
      watched_.push_back(right);
    }
    if (MACH_PORT_VALID(self)) mach_port_deallocate(mach_task_self(), self);
  }
  const std::vector<mach_port_name_t>& watched() const { return watched_; }

  // A thread calls rest() before it ends, and before a wait that may never end. It calls go_on()
  // after such a wait.
  void rest() {
    if (busy_.fetch_sub(1) == 1) busy_.notify_one();
  }
  void go_on() {
    busy_.fetch_add(1);
    returns_.fetch_add(1);
    returns_.notify_one();
  }
  void end() {
    ended_.fetch_add(1);
    rest();
  }

  // Waits until all threads have ended. Whenever all of them rest, ends the tasks, which ends their
  // waits.
  void wait() {
    for (;;) {
      const unsigned busy = busy_.load();
      if (busy != 0) {
        busy_.wait(busy);
        continue;
      }
      const unsigned returns = returns_.load();
      if (ended_.load() == thread_count) return;
      if (busy_.load() != 0) continue;
      for (unsigned slot = 0; slot < task_count; ++slot) replace(slot);
      returns_.wait(returns);
    }
  }

 private:
  const mach_port_name_t witness_;
  std::array<std::atomic<std::uint64_t>, task_count> tasks_{};
  std::atomic<unsigned> busy_{thread_count}, ended_{0}, returns_{0};
  std::mutex lock_;
  std::vector<mach_port_name_t> watched_;
};

// The calls of one thread.
class actor {
 public:
  actor(world& in, std::uint64_t seed) : world_(in), draw_(seed) {}

  void run() {
    for (unsigned turn = 0; turn < turns; ++turn) {
      slot_ = draw_.below(task_count);
      const current_task_guard there(world_.at(slot_));
      look_around();
      for (unsigned times = 0; times < 8; ++times) act();
    }
    world_.end();
  }

 private:
  mach_port_t self() { return mach_task_self(); }
  mach_port_name_t any() {
    if (draw_.below(16) == 0) return static_cast<mach_port_name_t>(draw_.next());
    return names_.empty() || draw_.below(8) == 0 ? known_name : draw_.among(names_);
  }
  mach_msg_type_name_t any_disposition() {
    return MACH_MSG_TYPE_MOVE_RECEIVE +
           draw_.below(MACH_MSG_TYPE_MAKE_SEND_ONCE + 1 - MACH_MSG_TYPE_MOVE_RECEIVE);
  }

  void look_around() {
    mach_port_name_array_t names = nullptr;
    mach_port_type_array_t types = nullptr;
    mach_msg_type_number_t count = 0, type_count = 0;
    names_.clear();
    if (mach_port_names(self(), &names, &count, &types, &type_count) != KERN_SUCCESS) return;
    names_.assign(names, names + count);
    release(names, count * sizeof *names);
    release(types, type_count * sizeof *types);
  }

  void act() {
    switch (draw_.below(20)) {
      case 0:
      case 1:
        return make();
      case 2:
        return release_some();
      case 3:
        return set_up();
      case 4:
        return ask_for_notification();
      case 5:
        return arrange();
      case 6:
        if (draw_.below(8) == 0) world_.replace(draw_.below(task_count));
        return;
      case 7:
        return world_.watch(slot_, any());
      case 8:
        return carry_over();
      case 9:
        if (draw_.below(4) == 0) wait_to_receive();
        return;
      case 10:
        if (draw_.below(4) == 0) wait_to_send();
        return;
      default:
        return draw_.below(2) == 0 ? send() : receive();
    }
  }

  void make() {
    mach_port_name_t made = MACH_PORT_NULL;
    mach_port_t right = MACH_PORT_NULL;
    mach_msg_type_name_t type = 0;
    switch (draw_.below(6)) {
      case 0:
        if (mach_port_allocate(self(), MACH_PORT_RIGHT_PORT_SET, &made) == KERN_SUCCESS) {
          names_.push_back(made);
        }
        return;
      case 1:
        mach_port_insert_right(self(), any(), any(), any_disposition());
        return;
      case 2:
        if (mach_port_extract_right(self(), any(), any_disposition(), &right, &type) ==
            KERN_SUCCESS) {
          mach_port_insert_right(self(), known_name + 0x100 * draw_.below(64), right, type);
        }
        return;
      default:
        if (mach_port_allocate(self(), MACH_PORT_RIGHT_RECEIVE, &made) != KERN_SUCCESS) return;
        if (draw_.below(2)) {
          mach_port_insert_right(self(), made, made, MACH_MSG_TYPE_MAKE_SEND);
        }
        names_.push_back(made);
    }
  }

  void release_some() {
    switch (draw_.below(5)) {
      case 0:
        mach_port_destroy(self(), any());
        return;
      case 1:
        mach_port_destruct(self(), any(), -static_cast<mach_port_delta_t>(draw_.below(2)),
                           draw_.below(2));
        return;
      case 2:
        mach_port_mod_refs(self(), any(), draw_.below(MACH_PORT_RIGHT_DEAD_NAME + 1),
                           static_cast<mach_port_delta_t>(draw_.below(4)) - 2);
        return;
      default:
        mach_port_deallocate(self(), any());
    }
  }

  void set_up() {
    switch (draw_.below(6)) {
      case 0:
        mach_port_guard(self(), any(), draw_.below(2), draw_.below(2) != 0);
        return;
      case 1:
        mach_port_unguard(self(), any(), draw_.below(2));
        return;
      case 2:
        mach_port_set_mscount(self(), any(), draw_.below(3));
        return;
      case 3:
        mach_port_rename(self(), any(), known_name + 0x100 * draw_.below(64));
        return;
      default:
        set_limit(any(), draw_.below(7));
    }
  }

  void ask_for_notification() {
    static constexpr mach_msg_id_t ids[] = {MACH_NOTIFY_DEAD_NAME, MACH_NOTIFY_SEND_POSSIBLE,
                                            MACH_NOTIFY_NO_SENDERS, MACH_NOTIFY_PORT_DESTROYED};
    mach_port_t previous = MACH_PORT_NULL;
    if (mach_port_request_notification(
            self(), any(), ids[draw_.below(4)], draw_.below(2),
            draw_.below(8) == 0 ? MACH_PORT_NULL : any(),
            draw_.below(4) == 0 ? MACH_MSG_TYPE_MOVE_SEND_ONCE : MACH_MSG_TYPE_MAKE_SEND_ONCE,
            &previous) == KERN_SUCCESS &&
        MACH_PORT_VALID(previous)) {
      mach_port_deallocate(self(), previous);
    }
  }

  void arrange() {
    switch (draw_.below(4)) {
      case 0:
        mach_port_move_member(self(), any(), draw_.below(3) == 0 ? MACH_PORT_NULL : any());
        return;
      case 1:
        mach_port_extract_member(self(), any(), any());
        return;
      default:
        mach_port_insert_member(self(), any(), any());
    }
  }

  // Inserts a right of this task into another one directly.
  void carry_over() {
    const mach_port_t other = task_self_port(world_.at(draw_.below(task_count)));
    mach_port_insert_right(other, known_name + 0x100 * draw_.below(64), any(), any_disposition());
    if (MACH_PORT_VALID(other)) mach_port_deallocate(self(), other);
  }

  // A message with any contents, except memory that its sender deallocates.
  message any_message() {
    message m(any(), draw_.below(3) == 0 ? any_disposition() : MACH_MSG_TYPE_COPY_SEND,
              static_cast<mach_msg_id_t>(draw_.below(100)));
    if (draw_.below(4) == 0) m.reply_to(any(), MACH_MSG_TYPE_MAKE_SEND_ONCE);
    for (std::uint64_t left = draw_.below(4); left > 0; --left) {
      switch (draw_.below(5)) {
        case 0:
          m.with(
              memory_descriptor(memory_.data(), draw_.below(sizeof memory_),
                                draw_.below(2) ? MACH_MSG_VIRTUAL_COPY : MACH_MSG_PHYSICAL_COPY));
          break;
        case 1:
          for (auto& each : carried_) each = any();
          m.with(ports_descriptor(carried_.data(), draw_.below(carried_.size() + 1),
                                  any_disposition()));
          break;
        case 2:
          m.with(guarded_descriptor(any(), draw_.below(4), draw_.below(2)));
          break;
        default:
          m.with(port_descriptor(any(), any_disposition()));
          break;
      }
    }
    return m;
  }

  void send() {
    if (draw_.below(32) == 0) return send_large();
    message m = any_message();
    const mach_msg_option_t notify = draw_.below(4) == 0 ? MACH_SEND_NOTIFY : 0;
    discard_returned(m, m.send(notify));
  }

  // Sends large memory, shared or deallocated. The message has no other part that can be refused,
  // so the result says whether the sender still owns the memory.
  void send_large() {
    vm_address_t at = 0;
    if (vm_allocate(self(), &at, large, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) return;
    void* const memory = reinterpret_cast<void*>(at);
    *static_cast<std::uint64_t*>(memory) = draw_.next();
    const bool deallocates = draw_.below(2) != 0;
    message m(any(), MACH_MSG_TYPE_COPY_SEND);
    m.with(memory_descriptor(memory, large, MACH_MSG_VIRTUAL_COPY, deallocates));
    const mach_msg_return_t result = m.send();
    discard_returned(m, result);
    const bool gone = result == MACH_MSG_SUCCESS || is_returned(result);
    if (!deallocates || !gone) release(memory, large);
  }

  void receive() {
    static constexpr mach_msg_option_t extras[] = {
        0, MACH_RCV_LARGE, MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY, MACH_RCV_GUARDED_DESC,
        MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)};
    message m;
    discard_received(m, m.receive(any(), extras[draw_.below(std::size(extras))],
                                  draw_.below(8) == 0 ? 64 : sizeof m.bytes));
  }

  // Waits until a message arrives, or the port or the task ends.
  void wait_to_receive() {
    message m;
    const mach_port_name_t from = any();
    world_.rest();
    const mach_msg_return_t result = mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, from,
                                              MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    world_.go_on();
    discard_received(m, result);
  }

  void wait_to_send() {
    message m = any_message();
    world_.rest();
    const mach_msg_return_t result = mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL,
                                              MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    world_.go_on();
    discard_returned(m, result);
  }

  static bool is_returned(mach_msg_return_t result) {
    const mach_msg_return_t why = result & ~MACH_MSG_MASK;
    return why == MACH_SEND_TIMED_OUT || why == MACH_SEND_INTERRUPTED || why == MACH_SEND_NO_BUFFER;
  }
  void discard_returned(message& m, mach_msg_return_t result) {
    if (is_returned(result)) discard(m);
  }
  void discard_received(message& m, mach_msg_return_t result) {
    if (result == MACH_MSG_SUCCESS || (result & ~MACH_MSG_MASK) == MACH_RCV_BODY_ERROR) {
      discard(m);
    }
  }

  // Releases all memory of a message and some of its rights. The task keeps the others.
  void discard(message& m) {
    drop(m.header().msgh_remote_port);
    if (!MACH_MSGH_BITS_IS_COMPLEX(m.header().msgh_bits)) return;
    std::size_t at = 0;
    for (unsigned left = m.bytes[sizeof(mach_msg_header_t)]; left > 0; --left) {
      switch (m.at<mach_msg_type_descriptor_t>(at).type) {
        case MACH_MSG_OOL_DESCRIPTOR: {
          const auto found = m.at<mach_msg_ool_descriptor_t>(at);
          release(found.address, found.size);
          at += sizeof found;
          break;
        }
        case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
          const auto found = m.at<mach_msg_ool_ports_descriptor_t>(at);
          const auto* const names = static_cast<const mach_port_name_t*>(found.address);
          for (mach_msg_size_t index = 0; index < found.count; ++index) drop(names[index]);
          release(found.address, found.count * sizeof *names);
          at += sizeof found;
          break;
        }
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
          at += sizeof(mach_msg_guarded_port_descriptor_t);
          break;
        default:
          drop(m.at<mach_msg_port_descriptor_t>(at).name);
          at += sizeof(mach_msg_port_descriptor_t);
          break;
      }
    }
  }
  void drop(mach_port_name_t name) {
    if (MACH_PORT_VALID(name) && draw_.below(2)) mach_port_deallocate(self(), name);
  }
  static void release(const void* memory, vm_size_t size) {
    if (size == 0) return;
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(memory), size);
  }

  world& world_;
  random_draw draw_;
  unsigned slot_ = 0;
  std::vector<mach_port_name_t> names_;
  std::array<char, 3 * 4096 + 100> memory_{};
  std::array<mach_port_name_t, 40> carried_{};
};

unsigned open_descriptors() {
  unsigned count = 0;
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) != -1) ++count;
  }
  return count;
}

void play(std::uint64_t seed) {
  CAPTURE(seed);
  const std::string before = inventory();
  const unsigned descriptors = open_descriptors();
  const mach_port_name_t witness = new_port();
  REQUIRE(set_limit(witness, 0) == KERN_SUCCESS);  // no message to it is ever queued
  std::vector<mach_port_name_t> watched;
  {
    world all(witness);
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < thread_count; ++index) {
      threads.emplace_back([&all, seed, index] { actor(all, seed * thread_count + index).run(); });
    }
    all.wait();
    for (std::thread& each : threads) each.join();
    watched = all.watched();
  }
  const mach_port_status_t status = status_of(witness);
  CHECK(status.mps_srights == 0);
  CHECK(status.mps_sorights == 0);
  CHECK(end_receive(witness) == KERN_SUCCESS);
  // Each port has died with the task that had its receive right.
  for (const mach_port_name_t each : watched) {
    CAPTURE(each);
    CHECK(mach_port_mod_refs(mach_task_self(), each, MACH_PORT_RIGHT_DEAD_NAME, -1) ==
          KERN_SUCCESS);
  }
  CHECK(inventory() == before);
  CHECK(open_descriptors() == descriptors);
}

}  // namespace

// On Darwin a process is one task, which cannot be ended.
TEST_CASE("random calls of three threads in tasks that end leave nothing in the kernel" *
          doctest::skip(!has_many_tasks())) {
  play_seeds(3, play);
}
