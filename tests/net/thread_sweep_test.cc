// resolve(), and standard streams that are files: what threads do for a loop, interrupted at every
// point and short of memory at every allocation.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kedge/net/owned_fd.h"
#include "kedge/net/resolve.h"
#include "kedge/net/standard_stream.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/offload.h"
#include "tests/runtime/drain.h"
#include "tests/runtime/sweep.h"
#include "unnamed_file.h"

namespace {

// Holds back threads, by numbers.
class number_gate {
 public:
  // Blocks until a number at least as large has been let through.
  void pass(std::uint64_t number) {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [&] { return let_through_ >= number; });
  }
  void let_through(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    if (let_through_ < number) let_through_ = number;
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  std::uint64_t let_through_ = 0;
};

number_gate questions;
constexpr std::string_view held_host = "held.";

}  // namespace

// Replaces the C library's. A question after "held.7" waits until the gate lets 7 through, and its
// answer is that after 127.0.0.1.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  static const auto system =
      reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  const std::string_view name = host != nullptr ? host : "";
  if (!name.starts_with(held_host)) return system(host, service, hints, found);
  questions.pass(std::stoull(std::string(name.substr(held_host.size()))));
  return system("127.0.0.1", service, hints, found);
}

namespace kedge::net {
namespace {

// Blocks until a thread has posted the end of a wait to the loop, if no task is ready.
void await_post(loop& l) {
  if (l.next_deadline() == l.now()) return;
  pollfd posted{l.native_handle(), POLLIN, 0};
  REQUIRE(::poll(&posted, 1, -1) == 1);
}

// Each wait asks for a host of its own, since the question of one that was cancelled goes on.
class resolving : public scenario {
 public:
  resolving(loop& l, virtual_time&) : in_(l) {}
  ~resolving() override { questions.let_through(newest); }
  auto awaited() { return resolve(std::string(held_host) + std::to_string(++newest), 80); }
  void complete() override {
    questions.let_through(newest);
    await_post(in_);
  }

 private:
  static inline std::uint64_t newest = 0;
  loop& in_;
};

TEST_CASE("a resolve that is interrupted ends at once, and leaves no answer") {
  sweep<resolving>("task");
}

// Occupies all threads of the process' pool until it is let go, so that further calls are queued.
class busy_pool {
 public:
  busy_pool() {
    const auto hold = [this] {
      std::unique_lock lock(mutex_);
      ++held_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return is_let_go_; });
    };
    for (int i = 0; i < threads; ++i) {
      own_.spawn([](std::function<void()> call) -> task<> { co_await offload(call); },
                 std::function<void()>(hold));
    }
    settle(own_);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ == threads; });
  }
  busy_pool(const busy_pool&) = delete;
  busy_pool& operator=(const busy_pool&) = delete;
  ~busy_pool() { let_go(); }

  void let_go() {
    {
      const std::lock_guard lock(mutex_);
      is_let_go_ = true;
      changed_.notify_all();
    }
    drain(own_);
  }

 private:
  static constexpr int threads = 32;  // thread_pool::of_process() has so many

  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0;
  bool is_let_go_ = false;
  loop own_;
};

// Bytes of a file, which the wait moves where the file was.
class file_world : public scenario {
 public:
  explicit file_world(loop& l) : in_(l) {
    const std::array<std::byte, 4096> bytes{};
    REQUIRE(::write(file_.get(), bytes.data(), bytes.size()) == 4096);
    REQUIRE(::lseek(file_.get(), 0, SEEK_SET) == 0);
  }
  void complete() override {
    pool_.let_go();
    await_post(in_);
  }
  void close() override { stream.close(); }
  void took(const result<std::size_t>& n) {
    if (n) moved_ += *n;
    scenario::took(n);
  }
  // A transfer that a thread has made for a loop that was destroyed is lost, and no other one.
  bool nothing_missing() override {
    return position() == moved_ || position() == moved_ + room.size();
  }
  bool all_delivered() override { return position() == moved_; }

 private:
  std::size_t position() const {
    return static_cast<std::size_t>(::lseek(file_.get(), 0, SEEK_CUR));
  }

  const owned_fd file_ = unnamed_file();
  loop& in_;
  std::size_t moved_ = 0;
  busy_pool pool_;

 protected:
  standard_stream stream{in_, file_.get(), file_.get()};
  std::array<std::byte, 4> room{};
};

class reading_file : public file_world {
 public:
  reading_file(loop& l, virtual_time&) : file_world(l) {}
  auto awaited() { return stream.read_some(room); }
};
class writing_file : public file_world {
 public:
  writing_file(loop& l, virtual_time&) : file_world(l) {}
  auto awaited() { return stream.write_some(room); }
};

TEST_CASE("a read of a standard_stream that is a file survives every interruption") {
  sweep<reading_file>("task");
}
TEST_CASE("a write to a standard_stream that is a file survives every interruption") {
  sweep<writing_file>("task");
}

}  // namespace
}  // namespace kedge::net
