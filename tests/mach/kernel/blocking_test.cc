// mach_msg calls that block: time-outs, interruption by signals, death of the port, several
// threads.
#include <doctest/doctest.h>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

#include "test_message.h"

using namespace test;

namespace {

mach_msg_return_t wait_receive(message& m, mach_port_name_t from, mach_msg_option_t option = 0,
                               mach_msg_timeout_t timeout = 0) {
  return mach_msg(&m.header(), MACH_RCV_MSG | option, 0, sizeof m.bytes, from, timeout, 0);
}

mach_msg_return_t wait_send(message& m, mach_msg_option_t option = 0,
                            mach_msg_timeout_t timeout = 0) {
  return mach_msg(&m.header(), MACH_SEND_MSG | option, m.size, 0, 0, timeout, 0);
}

void fill(mach_port_name_t port) {
  while (message(port, MACH_MSG_TYPE_MAKE_SEND, 1).send() == MACH_MSG_SUCCESS) {
  }
}

// Sends the thread signals until `done`, then joins it. The first signals may come before it waits.
void interrupt_until(std::thread& thread, const std::atomic<bool>& done) {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
  while (!done) {
    pthread_kill(thread.native_handle(), SIGUSR2);
    std::this_thread::yield();
  }
  thread.join();
}

}  // namespace

TEST_CASE("a blocked receive returns the message that another thread sends") {
  const mach_port_name_t port = new_service();
  std::thread sender([port] { message(port, MACH_MSG_TYPE_COPY_SEND, 5).send(); });
  message m;
  CHECK(wait_receive(m, port) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == 5);
  sender.join();
}

TEST_CASE("20,000 receives on a set that begin during a send to a member all get their message") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), port, set);
  constexpr int rounds = 20000;
  std::atomic<int> begun{-1};
  std::thread sender([port, &begun] {
    for (int each = 0; each < rounds; ++each) {
      while (begun < each) std::this_thread::yield();
      message(port, MACH_MSG_TYPE_COPY_SEND, each).send();
    }
  });
  int received = 0;
  for (; received < rounds; ++received) {
    begun = received;
    // Begins the receive at a different moment of the send each time.
    for (volatile int later = received % 512; later > 0;) later = later - 1;
    message m;
    // A lost wakeup would wait until this time-out.
    if (wait_receive(m, set, MACH_RCV_TIMEOUT, 20000) != MACH_MSG_SUCCESS) break;
  }
  CHECK(received == rounds);
  begun = rounds;
  sender.join();
}

TEST_CASE(
    "destroying 20,000 send-once rights while the receive right moves queues 20,000 "
    "notifications") {
  const mach_port_name_t carrier = new_port();
  mach_port_name_t port = new_port();
  constexpr int rights = 20000;
  std::vector<mach_port_name_t> once(rights);
  for (mach_port_name_t& each : once) each = new_send_once(port);
  std::atomic<bool> done{false};
  std::thread peer([&once, &done] {
    for (const mach_port_name_t each : once) mach_port_deallocate(mach_task_self(), each);
    done = true;
  });
  while (!done) {
    message m(carrier, MACH_MSG_TYPE_MAKE_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}});
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    REQUIRE(m.receive(carrier) == MACH_MSG_SUCCESS);
    port = m.port_at(0);
  }
  peer.join();
  CHECK(status_of(port).mps_msgcount == rights);
}

TEST_CASE("a blocked receive on a set returns a message sent to a member") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), port, set);
  std::thread sender([port] { message(port, MACH_MSG_TYPE_COPY_SEND, 5).send(); });
  message m;
  CHECK(wait_receive(m, set) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_local_port == port);
  sender.join();
}

TEST_CASE("three blocked sends to a queue of one all get their messages through") {
  const mach_port_name_t port = new_service();
  set_limit(port, 1);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 0).send() == MACH_MSG_SUCCESS);
  std::vector<std::thread> senders;
  std::atomic<int> sent{0};
  for (int each = 1; each <= 3; ++each) {
    senders.emplace_back([&, each] {
      message m(port, MACH_MSG_TYPE_COPY_SEND, each);
      CHECK(wait_send(m) == MACH_MSG_SUCCESS);
      ++sent;
    });
  }
  message m;
  int sum = 0;
  for (int each = 0; each < 4; ++each) {
    CAPTURE(each);
    REQUIRE(wait_receive(m, port) == MACH_MSG_SUCCESS);
    sum += m.header().msgh_id;
  }
  for (std::thread& each : senders) each.join();
  CHECK(sum == 6);
  CHECK(sent == 3);
  CHECK(next_id(port) == -1);
}

TEST_CASE("a time-out ends a receive, and a send, which gives its rights back") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(wait_receive(m, port, MACH_RCV_TIMEOUT, 1) == MACH_RCV_TIMED_OUT);
  CHECK(wait_receive(m, new_port(MACH_PORT_RIGHT_PORT_SET), MACH_RCV_TIMEOUT, 1) ==
        MACH_RCV_TIMED_OUT);
  fill(port);
  const mach_port_name_t cargo = new_service();
  m = message(port, MACH_MSG_TYPE_COPY_SEND, 0, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
  CHECK(wait_send(m, MACH_SEND_TIMEOUT, 1) == MACH_SEND_TIMED_OUT);
  CHECK(m.port_at(0) == cargo);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("a signal handler with SA_RESTART interrupts a receive with MACH_RCV_INTERRUPT") {
  const mach_port_name_t port = new_service();
  std::atomic<bool> done{false};
  std::thread receiver([&] {
    message m;
    CHECK(wait_receive(m, port, MACH_RCV_INTERRUPT) == MACH_RCV_INTERRUPTED);
    done = true;
  });
  interrupt_until(receiver, done);
}

TEST_CASE(
    "a signal handler interrupts a send with MACH_SEND_INTERRUPT, which gives its rights back") {
  const mach_port_name_t port = new_service();
  fill(port);
  std::atomic<bool> done{false};
  const auto before = refs_of(port, MACH_PORT_RIGHT_SEND);
  std::thread sender([&] {
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    CHECK(wait_send(m, MACH_SEND_INTERRUPT) == MACH_SEND_INTERRUPTED);
    CHECK(m.header().msgh_remote_port == port);
    done = true;
  });
  interrupt_until(sender, done);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == before + 1);
}

TEST_CASE("without MACH_RCV_INTERRUPT a receive continues after 50 signals") {
  const mach_port_name_t port = new_service();
  std::atomic<bool> done{false};
  std::thread receiver([&] {
    message m;
    CHECK(wait_receive(m, port) == MACH_MSG_SUCCESS);
    CHECK(m.header().msgh_id == 5);
    done = true;
  });
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR2, &action, nullptr);
  for (int each = 0; each < 50; ++each) {
    pthread_kill(receiver.native_handle(), SIGUSR2);
    std::this_thread::yield();
  }
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 5).send() == MACH_MSG_SUCCESS);
  receiver.join();
  CHECK(done);
}

TEST_CASE("a blocked call ends when its port or set dies or moves away") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  SUBCASE("a receiver whose port dies") {
    std::thread receiver([port] {
      message m;
      const mach_msg_return_t result = wait_receive(m, port);
      // The name may be gone before the receive has begun.
      CHECK((result == MACH_RCV_PORT_DIED || result == MACH_RCV_INVALID_NAME));
    });
    std::this_thread::yield();
    end_receive(port);
    receiver.join();
  }
  SUBCASE("a receiver whose port moves away") {
    const mach_port_name_t to = new_service();
    std::thread receiver([port] {
      message m;
      const mach_msg_return_t result = wait_receive(m, port);
      CHECK((result == MACH_RCV_PORT_CHANGED || result == MACH_RCV_INVALID_NAME));
    });
    std::this_thread::yield();
    CHECK(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
          MACH_MSG_SUCCESS);
    receiver.join();
  }
  SUBCASE("a receiver whose set dies") {
    std::thread receiver([set] {
      message m;
      const mach_msg_return_t result = wait_receive(m, set);
      CHECK((result == MACH_RCV_PORT_DIED || result == MACH_RCV_INVALID_NAME));
    });
    std::this_thread::yield();
    mach_port_deallocate(mach_task_self(), set);
    receiver.join();
  }
  SUBCASE("a sender: success, and the message is destroyed") {
    const mach_port_name_t reply = new_port();
    fill(port);
    std::thread sender([&] {
      message m(port, MACH_MSG_TYPE_COPY_SEND);
      m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
      const mach_msg_return_t result = wait_send(m);
      CHECK((result == MACH_MSG_SUCCESS || result == MACH_SEND_INVALID_DEST));
      if (result == MACH_MSG_SUCCESS) CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
    });
    std::this_thread::yield();
    end_receive(port);
    sender.join();
  }
}

TEST_CASE("raising the queue limit unblocks a sender") {
  const mach_port_name_t port = new_service();
  fill(port);
  std::thread sender([port] {
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    CHECK(wait_send(m) == MACH_MSG_SUCCESS);
  });
  set_limit(port, 100);
  sender.join();
}

TEST_CASE("a message too large for a waiting receiver with MACH_RCV_LARGE stays queued") {
  const mach_port_name_t port = new_service();
  std::thread small([port] {
    message m;
    CHECK(mach_msg(&m.header(), MACH_RCV_MSG | MACH_RCV_LARGE, 0, 32, port, 0, 0) ==
          MACH_RCV_TOO_LARGE);
    CHECK(m.header().msgh_size == 40);
  });
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 4, {}, "0123456789abcdef").send() ==
          MACH_MSG_SUCCESS);
  small.join();
  CHECK(next_id(port) == 4);
}

TEST_CASE(
    "1,200 messages of three senders reach three receivers on a port and a set exactly once") {
  constexpr int ports = 3, senders = 3, receivers = 3, each_sends = 400;
  mach_port_name_t port[ports];
  const mach_port_name_t set = new_port(MACH_PORT_RIGHT_PORT_SET);
  for (mach_port_name_t& each : port) {
    each = new_service();
    mach_port_insert_member(mach_task_self(), each, set);
  }
  std::atomic<long> sent{0}, received{0};
  std::atomic<int> left{senders * each_sends};
  std::vector<std::thread> threads;
  for (int number = 0; number < senders; ++number) {
    threads.emplace_back([&, number] {
      for (int each = 0; each < each_sends; ++each) {
        message m(port[(number + each) % ports], MACH_MSG_TYPE_COPY_SEND, each);
        if (wait_send(m) == MACH_MSG_SUCCESS) sent += each;
      }
    });
  }
  for (int number = 0; number < receivers; ++number) {
    threads.emplace_back([&, number] {
      message m;
      while (left > 0) {
        if (wait_receive(m, number == 0 ? port[0] : set, MACH_RCV_TIMEOUT, 1) == MACH_MSG_SUCCESS) {
          received += m.header().msgh_id;
          --left;
        }
      }
    });
  }
  for (std::thread& each : threads) each.join();
  CHECK(sent == received);
  CHECK(left == 0);
}
