// Every awaitable of the runtime, interrupted at every point and short of memory at every
// allocation.
#include "sweep.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "child_checks.h"
#include "file_ends.h"
#include "foreign_event.h"
#include "kedge/runtime/async_generator.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/callback.h"
#include "kedge/runtime/completion.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/foreign.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/interval.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/run.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/wall_clock.h"
#include "kedge/runtime/task_local.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_signals.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace kedge {
namespace {

using namespace std::chrono_literals;

// --- Waits for time, and for nothing -------------------------------------------------------------

class timed_world : public scenario {
 public:
  timed_world(loop& l, virtual_time& time) : in(l), time_(time) {}
  void complete() override { time_.advance(1h); }

 protected:
  loop& in;

 private:
  virtual_time& time_;
};

struct sleeping_for : timed_world {
  using timed_world::timed_world;
  auto awaited() { return sleep_for(1h); }
};
struct sleeping_until : timed_world {
  using timed_world::timed_world;
  auto awaited() { return sleep_until(clock::after(1h)); }
};
struct sleeping_coarsely : timed_world {
  using timed_world::timed_world;
  auto awaited() { return sleep_for(1h, 1s); }
};
class sleeping_until_wall_time : public timed_world {
 public:
  sleeping_until_wall_time(loop& l, virtual_time& time)
      : timed_world(l, time), deadline_(time.wall_now() + 90min) {}
  auto awaited() { return sleep_until(deadline_); }

 private:
  std::chrono::system_clock::time_point deadline_;
};
class ticking : public timed_world {
 public:
  ticking(loop& l, virtual_time& time) : timed_world(l, time), ticks_(std::in_place, l, 1h) {}
  // The first one is older than the wait, and may outlive the interval.
  interval::next_awaitable awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return ticks_->next();
  }
  void close() override { ticks_.reset(); }

 private:
  std::optional<interval> ticks_;
  std::optional<interval::next_awaitable> first_ = ticks_->next();
};
struct yielding : timed_world {
  using timed_world::timed_world;
  auto awaited() { return yield(); }
};

// Never ends by itself, so a deadline ends it.
struct waiting_forever : timed_world {
  using timed_world::timed_world;
  auto awaited() { return with_timeout(1h, forever()); }
  void took(const result<void>& r) { delivered += !r && r.error() == errc::timed_out; }
};

// --- Other libraries -----------------------------------------------------------------------------

class foreign_world : public scenario {
 public:
  foreign_world(loop&, virtual_time&) {}
  auto awaited() {
    return foreign(event_.wait(), [this] { complete(); });
  }
  void complete() override {
    if (event_.is_set()) return;
    ++given_;
    event_.set(1);
  }
  // What the foreign wait had taken, it gave, but for a wait that was destroyed.
  bool nothing_missing() override { return given_ == event_.taken + event_.is_set(); }

 private:
  other::foreign_event event_;
  int given_ = 0;
};

class called_back : public scenario {
 public:
  called_back(loop&, virtual_time&) {}
  auto awaited() {
    return callback<int>([this](callback_handler<int> done) { handler_ = std::move(done); },
                         [this] { handler_.reset(); });
  }
  void complete() override {
    if (!handler_) return;
    (*handler_)(1);
    handler_.reset();
  }
  // A registration that has no result is taken back.
  bool nothing_left() override { return !handler_; }
  void took(int) { ++delivered; }

 private:
  std::optional<callback_handler<int>> handler_;
};

// --- Files ---------------------------------------------------------------------------------------

// The fds are the world's own, so that they stay open when the descriptor has gone.
class files {
 public:
  explicit files(const std::array<int, 2>& ends) noexcept : ends_(ends) {}
  files(const files&) = delete;
  files& operator=(const files&) = delete;
  ~files() {
    for (const int fd : ends_) ::close(fd);
  }
  int operator[](std::size_t i) const noexcept { return ends_[i]; }

 private:
  std::array<int, 2> ends_;
};

std::array<int, 2> pipe_ends() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  for (const int fd : ends) set_nonblocking(fd, true);
  return ends;
}
std::array<int, 2> fifo_ends() {
  const fifo made;
  const int reader = made.open(O_RDONLY);
  return {reader, made.open(O_WRONLY)};
}

int pending_bytes(int fd) {
  int count = 0;
  REQUIRE(::ioctl(fd, FIONREAD, &count) == 0);
  return count;
}

// Gives bytes, one at a time, to a task that reads.
class reading_world : public scenario {
 public:
  explicit reading_world(loop& l, const std::array<int, 2>& ends)
      : ends_(ends), in(l, ends_[0], ownership::borrowed) {}
  void complete() override {
    REQUIRE(::write(ends_[1], "x", 1) == 1);
    ++given_;
  }
  void close() override { in.close(); }
  bool nothing_missing() override { return given_ == taken + pending_bytes(ends_[0]); }
  std::vector<registered> registrations() const override {
    return {{EVFILT_READ, static_cast<std::uint64_t>(ends_[0])}};
  }

 protected:
  // Reads a byte, and counts it.
  auto read_byte() {
    return in.reading([this](int fd) -> std::optional<result<int>> {
      char byte = 0;
      const ssize_t n = ::read(fd, &byte, 1);
      if (n == 1) return ++taken;
      REQUIRE(errno == EAGAIN);
      return std::nullopt;
    });
  }

 private:
  files ends_;
  int given_ = 0;

 protected:
  descriptor in;
  int taken = 0;
};

struct pipe_world : reading_world {
  pipe_world(loop& l, virtual_time&) : reading_world(l, pipe_ends()) {}
};
// Loses no byte that it has read.
struct keeping_world : pipe_world {
  using pipe_world::pipe_world;
  bool all_delivered() override { return delivered == taken; }
};

struct reading : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return read_byte(); }
};
struct waiting_to_read : pipe_world {
  using pipe_world::pipe_world;
  auto awaited() { return in.readable(); }
};

class reading_some : public reading_world {
 public:
  using reading_world::reading_world;
  auto awaited() { return in.read_some(std::span(&byte_, 1)); }
  bool nothing_missing() override {
    taken = delivered;
    return reading_world::nothing_missing();
  }

 private:
  std::byte byte_{};
};
struct reading_pipe : reading_some {
  reading_pipe(loop& l, virtual_time&) : reading_some(l, pipe_ends()) {}
};
struct reading_socket : reading_some {
  reading_socket(loop& l, virtual_time&) : reading_some(l, socket_pair()) {}
};
// Its end is looked for at intervals, so it has a timer too.
struct reading_fifo : reading_some {
  reading_fifo(loop& l, virtual_time&) : reading_some(l, fifo_ends()) {}
};

// Takes bytes from a task that writes into a full pipe.
class writing_world : public scenario {
 public:
  writing_world(loop& l, virtual_time&) : ends_(pipe_ends()), out(l, ends_[1], ownership::borrowed) {
    for (ssize_t n = 0; n >= 0; n = ::write(ends_[1], block.data(), block.size())) {
      filled_ += n;
    }
  }
  // Makes room for one write of any size.
  void complete() override { drained_ += ::read(ends_[0], block.data(), block.size()); }
  void close() override { out.close(); }
  bool nothing_missing() override {
    return filled_ + written == drained_ + pending_bytes(ends_[0]);
  }
  std::vector<registered> registrations() const override {
    return {{EVFILT_WRITE, static_cast<std::uint64_t>(ends_[1])}};
  }

 private:
  files ends_;
  ssize_t filled_ = 0;
  ssize_t drained_ = 0;

 protected:
  descriptor out;
  ssize_t written = 0;
  std::array<std::byte, 4096> block{};
};

struct waiting_to_write : writing_world {
  using writing_world::writing_world;
  auto awaited() { return out.writable(); }
};
struct writing_some : writing_world {
  using writing_world::writing_world;
  auto awaited() { return out.write_some(block); }
  void took(const result<std::size_t>& n) {
    if (n) written += static_cast<ssize_t>(*n);
    scenario::took(n);
  }
};
struct writing : writing_world {
  using writing_world::writing_world;
  auto awaited() {
    return out.writing([this](int fd) -> std::optional<result<int>> {
      const ssize_t n = ::write(fd, block.data(), block.size());
      if (n < 0) return std::nullopt;
      written += n;
      return ++transfers_;
    });
  }
  bool all_delivered() override { return delivered == transfers_; }

 private:
  int transfers_ = 0;
};

// --- Signals -------------------------------------------------------------------------------------

class signal_world : public scenario {
 public:
  explicit signal_world(loop& l) : in(l) {}
  void complete() override { REQUIRE(::raise(SIGUSR1) == 0); }
  std::vector<registered> registrations() const override { return {{EVFILT_SIGNAL, SIGUSR1}}; }

 protected:
  loop& in;
};

class next_signal : public signal_world {
 public:
  next_signal(loop& l, virtual_time&) : signal_world(l), set_(std::in_place, l, signals_) {}
  // The first one is older than the wait, and may outlive the set.
  signal_set::next_awaitable awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return set_->next();
  }
  void complete() override {
    // Without the set the signal would end the program.
    if (!set_) return;
    signal_world::complete();
    ++given_;
  }
  void close() override { set_.reset(); }
  void took(const result<signal_event>& s) {
    if (s) taken_ += s->count;
    scenario::took(s);
  }
  // A wait takes all deliveries that came before it.
  bool nothing_missing() override { return taken_ <= given_; }
  bool nothing_left() override { return taken_ == given_; }

 private:
  static constexpr int signals_[] = {SIGUSR1};
  std::optional<signal_set> set_;
  std::optional<signal_set::next_awaitable> first_ = set_->next();
  unsigned given_ = 0;
  unsigned taken_ = 0;
};

// --- Other threads -------------------------------------------------------------------------------

// A completion has one result, so there is another one after each that was taken.
class completing : public scenario {
 public:
  completing(loop&, virtual_time&) {
    renew();
    first_ = source_->wait();
  }
  // The first one is older than the wait, and may outlive the completion.
  completion<int>::completion_awaitable awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    if (taken_) renew();
    return source_->wait();
  }
  void complete() override { given_ = to_->complete(1) || given_; }
  void close() override { source_.reset(); }
  void took(const result<int>& r) {
    taken_ = r.has_value();
    scenario::took(r);
  }
  bool nothing_left() override { return taken_ == given_; }

 private:
  void renew() {
    source_.emplace();
    to_ = source_->get_completer();
    taken_ = given_ = false;
  }

  std::optional<completion<int>> source_;
  std::optional<completer<int>> to_;
  std::optional<completion<int>::completion_awaitable> first_;
  bool given_ = false;
  bool taken_ = false;
};

// A function that another thread holds until it is released or told to stop. Each has an object of
// its own, since a detached one may outlive its wait.
class held_call {
 public:
  int operator()(const stop_flag& stop) const {
    while (!released_->load() && !stop.stop_requested()) std::this_thread::yield();
    return 1;
  }
  void release() const noexcept { released_->store(true); }

 private:
  std::shared_ptr<std::atomic<bool>> released_ = std::make_shared<std::atomic<bool>>(false);
};

class offloading_world : public scenario {
 public:
  offloading_world(loop&, virtual_time&) {}
  // Returns when the only thread of the pool has ended the call and posted it.
  void complete() override {
    if (fn_) fn_->release();
    loop own;
    const auto nothing = [] {};
    own.run(offload(pool, nothing));
  }

 protected:
  const held_call& renew() { return fn_.emplace(); }

  const thread_pool pool{1};

 private:
  std::optional<held_call> fn_;
};
struct offloading : offloading_world {
  using offloading_world::offloading_world;
  auto awaited() { return offload(pool, renew()); }
};
struct offloading_detached : offloading_world {
  using offloading_world::offloading_world;
  auto awaited() { return offload_detached(pool, renew()); }
// --- Processes -----------------------------------------------------------------------------------

// Lets children end whose input is a pipe that nothing is written to.
class child_world : public scenario {
 public:
  child_world(loop& l, virtual_time&) : input_(l, ends_[0], ownership::borrowed) {}
  // What the end of a child gives is there when one has become a zombie.
  void complete() override {
    ends_.close_writing();
    await_any_zombie();
  }

 protected:
  const descriptor& input() const noexcept { return input_; }

 private:
  class pipe_files {
   public:
    pipe_files() { REQUIRE(::pipe(ends_.data()) == 0); }
    pipe_files(const pipe_files&) = delete;
    pipe_files& operator=(const pipe_files&) = delete;
    ~pipe_files() {
      close_writing();
      ::close(ends_[0]);
    }
    int operator[](std::size_t i) const noexcept { return ends_[i]; }
    void close_writing() noexcept {
      if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
    }

   private:
    std::array<int, 2> ends_{};
  };
  pipe_files ends_;
  descriptor input_;
};

class process_world : public child_world {
 public:
  process_world(loop& l, virtual_time& time)
      : child_world(l, time), child(std::in_place, l, command("cat"), options(input())) {}
  void close() override {
    if (!child) return;
    child.reset();
    await_any_zombie();  // the drop has killed it
  }
  std::vector<registered> registrations() const override {
    return {{EVFILT_PROC, static_cast<std::uint64_t>(pid_)}};
  }

 private:
  static process_options options(const descriptor& input) {
    process_options o;
    o.input = input;
    return o;
  }

 protected:
  std::optional<process> child;

 private:
  const pid_t pid_ = child->pid();
};

// The first wait is older than the others, and may outlive the process.
class exiting : public process_world {
 public:
  using process_world::process_world;
  process::exited_awaitable awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return child->exited();
  }

 private:
  std::optional<process::exited_awaitable> first_ = child->exited();
};
class terminating : public process_world {
 public:
  using process_world::process_world;
  task<result<exit_status>> awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return child->terminate(1h);
  }

 private:
  std::optional<task<result<exit_status>>> first_ = child->terminate(1h);
};
struct running : child_world {
  using child_world::child_world;
  auto awaited() { return run({"cat"}, {.input = input()}); }
};

// --- Combinators around a wait for a byte --------------------------------------------------------

class calling : public keeping_world {
 public:
  using keeping_world::keeping_world;
  task<result<int>> awaited() { return outer(); }

 private:
  task<result<int>> outer() {
    const sweep_detail::counted_life life(live);
    co_await yield();
    auto value = co_await inner();
    co_return value;
  }
  task<result<int>> inner() {
    const sweep_detail::counted_life life(live);
    co_return co_await read_byte();
  }
};

// Each wait asks a generator of its own.
class generating : public keeping_world {
 public:
  using keeping_world::keeping_world;
  auto awaited() {
    bytes_.emplace(each_byte());
    return bytes_->next();
  }
  void took(std::optional<result<int>> byte) { scenario::took(byte.value()); }

 private:
  async_generator<result<int>> each_byte() {
    for (;;) {
      co_await yield();
      auto byte = co_await read_byte();
      co_yield std::move(byte);
    }
  }

  std::optional<async_generator<result<int>>> bytes_;
};
struct generating_for_each : pipe_world {
  using pipe_world::pipe_world;
  auto awaited() {
    return for_each(two_bytes(), [](int) { return yield(); });
  }

 private:
  async_generator<int> two_bytes() {
    const sweep_detail::counted_life life(live);
    for (int i = 0; i < 2; ++i) {
      auto byte = co_await read_byte();
      if (!byte) {
        error = byte.error();
        co_return;
      }
      co_yield *byte;
    }
  }
};
struct attempting : pipe_world {
  using pipe_world::pipe_world;
  auto awaited() { return attempt(read_byte()); }
  void took(attempted<result<int>> end) {
    if (end.has_value()) scenario::took(*end);
    if (end.failed()) std::rethrow_exception(end.failure());
  }
  bool all_delivered() override { return delivered == taken; }
};
struct shielding : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return shield(read_byte()); }
};
struct valuing : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return with_value(key, 1, read_byte()); }

 private:
  task_local<int> key;
};
struct reading_a_value : timed_world {
  using timed_world::timed_world;
  auto awaited() { return key.get(); }

 private:
  task_local<int> key;
};
struct limiting : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return with_timeout(1h, read_byte()); }
};
struct limiting_a_task : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return with_deadline(clock::time_point::max(), read_in_task()); }

 private:
  task<result<int>> read_in_task() { co_return co_await read_byte(); }
};
struct limiting_a_block : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() {
    return with_timeout(1h, [this] { return read_byte(); });
  }
};
// The deadline ends the wait.
class expiring : public timed_world {
 public:
  using timed_world::timed_world;
  auto awaited() { return with_timeout(1h, sleep_for(clock::duration::max())); }
  void took(const result<void>& r) {
    if (!r && r.error() == errc::timed_out) ++delivered;
  }
};
// Time ends the clean-up.
class cleaning_up : public pipe_world {
 public:
  cleaning_up(loop& l, virtual_time& time) : pipe_world(l, time), time_(time) {}
  auto awaited() {
    return with_cleanup(read_byte(), [this] { return clean(); }, 1h);
  }
  void complete() override {
    // The body has its byte, or was cancelled: time ends the clean-up.
    if (cleaning_) {
      time_.advance(1h);
    } else {
      pipe_world::complete();
    }
  }

 private:
  task<> clean() {
    const sweep_detail::counted_life life(live);
    const sweep_detail::counted_life cleaning(cleaning_);
    co_await yield();
    co_await forever();
  }

  virtual_time& time_;
  int cleaning_ = 0;
};
struct asking_state : timed_world {
  using timed_world::timed_world;
  auto awaited() { return this_task::state(); }
};
struct waiting_for_all : pipe_world {
  using pipe_world::pipe_world;
  auto awaited() { return when_all(read_byte(), yield(), twice_yield()); }

 private:
  static task<> twice_yield() {
    co_await yield();
    co_await yield();
  }
};
struct waiting_for_any : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return when_any(read_byte(), sleep_in_task(), sleep_for(10'000h)); }
  template <class Ends>
  void took(const Ends& ends) {
    if (std::get<0>(ends)) scenario::took(*std::get<0>(ends));
  }

 private:
  static task<> sleep_in_task() { co_await sleep_for(10'000h); }
};
class waiting_for_all_of_range : public pipe_world {
 public:
  using pipe_world::pipe_world;
  auto awaited() {
    std::vector<task<>> tasks;
    tasks.reserve(3);
    for (int i = 0; i < 3; ++i) tasks.push_back(read_or_yield(i == 1));
    return when_all(std::move(tasks));
  }
  void took(const std::vector<std::monostate>& ends) { delivered += ends.size() == 3; }

 private:
  task<> read_or_yield(bool reads) {
    const sweep_detail::counted_life life(live);
    co_await yield();
    if (reads) {
      auto byte = co_await read_byte();
      if (byte.has_value()) co_return;
      error = byte.error();
    }
  }
};
class waiting_for_any_of_range : public keeping_world {
 public:
  using keeping_world::keeping_world;
  auto awaited() {
    std::vector<task<result<int>>> tasks;
    tasks.reserve(3);
    for (int i = 0; i < 3; ++i) tasks.push_back(read_or_sleep(i == 1));
    return when_any(std::move(tasks));
  }
  void took(const std::vector<std::optional<result<int>>>& ends) {
    if (ends[1]) scenario::took(*ends[1]);
  }

 private:
  task<result<int>> read_or_sleep(bool reads) {
    const sweep_detail::counted_life life(live);
    if (reads) co_return co_await read_byte();
    co_await forever();
    co_return 0;
  }
};
// Of its children one reads, and one waits for another pipe without a context of its own.
class with_children : public pipe_world {
 public:
  with_children(loop& l, virtual_time& time)
      : pipe_world(l, time), ends_(pipe_ends()), other_(l, ends_[0], ownership::borrowed) {}
  auto awaited() { return with_scope(body(*this)); }
  void complete() override {
    pipe_world::complete();
    REQUIRE(::write(ends_[1], "x", 1) == 1);
  }
  void close() override {
    pipe_world::close();
    other_.close();
  }
  std::vector<registered> registrations() const override {
    std::vector<registered> all = pipe_world::registrations();
    all.push_back({EVFILT_READ, static_cast<std::uint64_t>(ends_[0])});
    return all;
  }

 private:
  class body {
   public:
    explicit body(with_children& w) noexcept : world_(w) {}
    task<int> operator()(scope& s) const { return world_.spawn_children(s); }

   private:
    with_children& world_;
  };
  task<int> spawn_children(scope& s) {
    const sweep_detail::counted_life life(live);
    s.spawn([this] { return child(); });
    s.spawn(sleep_for(0s));
    s.spawn(yield());
    s.spawn(other_.readable());
    co_await yield();
    co_return 1;
  }
  task<> child() {
    const sweep_detail::counted_life life(live);
    static_cast<void>(co_await read_byte());
  }

  files ends_;
  descriptor other_;
};
class until_signal : public signal_world {
 public:
  until_signal(loop& l, virtual_time&) : signal_world(l) {}
  auto awaited() { return with_signals({SIGUSR1}, sleep_for(clock::duration::max())); }
  void complete() override {
    struct sigaction now{};
    ::sigaction(SIGUSR1, nullptr, &now);
    // Without the set the signal would end the program.
    if (now.sa_handler != SIG_DFL) signal_world::complete();
  }
  void took(int status) { delivered += status == 128 + SIGUSR1; }
  // The set has restored the disposition.
  bool nothing_missing() override {
    struct sigaction now{};
    ::sigaction(SIGUSR1, nullptr, &now);
    return now.sa_handler == SIG_DFL;
  }
};

TEST_CASE("sweep: a sleep that is interrupted leaves no timer") {
  SUBCASE("sleep_for") {
    sweep<sleeping_for>("sleep_awaitable");
  }
  SUBCASE("sleep_until") {
    sweep<sleeping_until>("sleep_awaitable");
  }
  SUBCASE("sleep_for with a slack") {
    sweep<sleeping_coarsely>("sleep_awaitable");
  }
  SUBCASE("sleep_until a wall time") {
    sweep<sleeping_until_wall_time>("wall_sleep_awaitable");
  }
}
TEST_CASE("sweep: a yield that is interrupted leaves nothing in the ready queue") {
  sweep<yielding>("yield");
}
TEST_CASE("sweep: a wait for a tick that is interrupted leaves no timer") {
  sweep<ticking>("next_awaitable");
}
TEST_CASE("sweep: a wait without an end that is interrupted leaves nothing") {
  sweep<waiting_forever>("forever");
}
TEST_CASE("sweep: a wait of another library that is interrupted is waited for") {
  sweep<foreign_world>("foreign_awaitable");
}
TEST_CASE("sweep: a wait for a callback that is interrupted takes its registration back") {
  sweep<called_back>("callback_awaitable");
}
TEST_CASE("sweep: a transfer that is interrupted takes no byte, and leaves no registration") {
  SUBCASE("readable") {
    sweep<waiting_to_read>("transfer_awaitable");
  }
  SUBCASE("writable") {
    sweep<waiting_to_write>("transfer_awaitable");
  }
  SUBCASE("read_some of a pipe") {
    sweep<reading_pipe>("transfer_awaitable");
  }
  SUBCASE("read_some of a socket") {
    sweep<reading_socket>("transfer_awaitable");
  }
  SUBCASE("read_some of a FIFO") {
    sweep<reading_fifo>("transfer_awaitable");
  }
  SUBCASE("write_some") {
    sweep<writing_some>("transfer_awaitable");
  }
  SUBCASE("reading") {
    sweep<reading>("transfer_awaitable");
  }
  SUBCASE("writing") {
    sweep<writing>("transfer_awaitable");
  }
}
TEST_CASE("sweep: a wait for a signal that is interrupted loses no delivery") {
  SUBCASE("signal_set::next") {
    sweep<next_signal>("next_awaitable");
  }
  SUBCASE("with_signals") {
    sweep<until_signal>("task");
  }
}
TEST_CASE("sweep: a wait for a completion that is interrupted loses no result") {
  sweep<completing>("completion_awaitable");
}
TEST_CASE("sweep: an offloaded function that is interrupted leaves no call") {
  SUBCASE("offload") {
    sweep<offloading>("offload_awaitable");
  }
  SUBCASE("offload_detached") {
    sweep<offloading_detached>("offload_awaitable");
  }
TEST_CASE("sweep: a wait for a process that is interrupted loses no status, and leaves no child") {
  SUBCASE("process::exited") {
    sweep<exiting>("exited_awaitable");
  }
  SUBCASE("process::terminate") {
    sweep<terminating>("task");
  }
  SUBCASE("run") {
    sweep<running>("task");
  }
  await_no_child();
}
TEST_CASE("sweep: a task that is interrupted leaves no frame, and loses no value") {
  sweep<calling>("task");
}
TEST_CASE("sweep: a generator that is interrupted is destroyed, and loses no value") {
  SUBCASE("next") {
    sweep<generating>("next_awaitable");
  }
  SUBCASE("for_each") {
    sweep<generating_for_each>("task");
  }
}
TEST_CASE("sweep: an attempt that is interrupted loses no value") {
  sweep<attempting>("attempt_awaitable");
}
TEST_CASE("sweep: a wait with a task-local value") {
  sweep<valuing>("with_value_awaitable");
}
TEST_CASE("sweep: a task-local value") {
  sweep<reading_a_value>("local_awaitable");
}
TEST_CASE("sweep: a shielded wait ends by itself") {
  sweep<shielding>("shield_awaitable");
}
TEST_CASE("sweep: a wait with a limit that is interrupted leaves no timer, and loses no value") {
  SUBCASE("with_timeout") {
    sweep<limiting>("with_timeout_awaitable");
  }
  SUBCASE("with_deadline") {
    sweep<limiting_a_task>("with_timeout_awaitable");
  }
  SUBCASE("over a block") {
    sweep<limiting_a_block>("with_timeout_awaitable");
  }
  SUBCASE("the limit ends the wait") {
    sweep<expiring>("with_timeout_awaitable");
  }
}
TEST_CASE("sweep: a clean-up runs to its end, or to the end of its grace") {
  sweep<cleaning_up>("with_cleanup_awaitable");
}
TEST_CASE("sweep: state() does not wait") {
  sweep<asking_state>("state");
}
TEST_CASE("sweep: when_all that is interrupted leaves no branch") {
  SUBCASE("of a list") {
    sweep<waiting_for_all>("when_all_awaitable");
  }
  SUBCASE("of a vector") {
    sweep<waiting_for_all_of_range>("when_all_range_awaitable");
  }
}
TEST_CASE("sweep: when_any that is interrupted leaves no branch, and loses no value") {
  SUBCASE("of a list") {
    sweep<waiting_for_any>("when_any_awaitable");
  }
  SUBCASE("of a vector") {
    sweep<waiting_for_any_of_range>("when_any_range_awaitable");
  }
}
TEST_CASE("sweep: a scope that is interrupted leaves no child") {
  sweep<with_children>("scope_awaitable");
}

}  // namespace
}  // namespace kedge
