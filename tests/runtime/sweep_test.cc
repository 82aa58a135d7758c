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
#include <exception>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "child_checks.h"
#include "file_changes.h"
#include "file_ends.h"
#include "foreign_event.h"
#include "kedge/runtime/async_generator.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/auto_reset_event.h"
#include "kedge/runtime/barrier.h"
#include "kedge/runtime/callback.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/completion.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/exceptional_fd.h"
#include "kedge/runtime/foreign.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/handled.h"
#include "kedge/runtime/interval.h"
#include "kedge/runtime/latch.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/named.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/run.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/semaphore.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/started.h"
#include "kedge/runtime/task_local.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/user_event.h"
#include "kedge/runtime/value.h"
#include "kedge/runtime/vnode.h"
#include "kedge/runtime/wall_clock.h"
#include "kedge/runtime/watch_file.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_signals.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"
#include "tests/temporary_folder.h"
#include "urgent_stream.h"

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
  writing_world(loop& l, virtual_time&)
      : ends_(pipe_ends()), out(l, ends_[1], ownership::borrowed) {
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

// --- Files and events ----------------------------------------------------------------------------

// The awaitable is next() of the source. The first one is older than its wait, and may outlive the
// source, which is gone after close(). What comes several times is taken once.
template <class Source>
class event_world : public scenario {
 public:
  auto awaited() {
    given_before_wait_ = given_;
    had_pending_ = is_pending_;
    if (first_) return *std::exchange(first_, std::nullopt);
    return source_->next();
  }
  void complete() final {
    if (!source_) return;
    happen();
    ++given_;
    is_pending_ = true;
  }
  void close() override { source_.reset(); }
  template <class T>
  void took(const result<T>& r) {
    if (r) is_pending_ = false;
    scenario::took(r);
  }
  // What had come before the wait has ended it.
  bool nothing_left() override {
    return !is_pending_ && (!had_pending_ || given_ == given_before_wait_);
  }

 protected:
  template <class... Args>
  const Source& open(Args&&... args) {
    source_.emplace(std::forward<Args>(args)...);
    first_.emplace(source_->next());
    return *source_;
  }

 private:
  virtual void happen() = 0;

  std::optional<Source> source_;
  std::optional<decltype(std::declval<const Source&>().next())> first_;
  int given_ = 0;
  int given_before_wait_ = 0;
  bool is_pending_ = false;  // given, and not taken
  bool had_pending_ = false;
};

struct watched_files {
  watched_files() { write_file(path, "x"); }
  temporary_folder folder;
  std::string path = folder / "file";
};

class changing_vnode : public event_world<vnode> {
 public:
  changing_vnode(loop& l, virtual_time&) { open(l, file_.fd()); }
  std::vector<registered> registrations() const override {
    return {{EVFILT_VNODE, static_cast<std::uint64_t>(file_.fd())}};
  }

 private:
  void happen() override { write_file(at_.path, "y"); }
  watched_files at_;
  open_file file_{at_.path};
};
class saving_file : public event_world<watch_file> {
 public:
  saving_file(loop& l, virtual_time&) { open(l, at_.path); }

 private:
  void happen() override { save_atomically(at_.path, "y"); }
  watched_files at_;
};
class triggering : public event_world<user_event> {
 public:
  triggering(loop& l, virtual_time&) : trigger_(open(l).get_trigger()) {}

 private:
  void happen() override { trigger_(1); }
  user_event::trigger trigger_;
};
class sending_urgent : public event_world<exceptional_fd> {
 public:
  sending_urgent(loop& l, virtual_time&) { open(l, ends_[0]); }
  std::vector<registered> registrations() const override {
    return {{EVFILT_EXCEPT, static_cast<std::uint64_t>(ends_[0])}};
  }

 private:
  // Takes the byte of before first: while it is there, each arrival reports it.
  void happen() override {
    if (has_sent_) ends_.receive_urgent();
    has_sent_ = true;
    ends_.send_urgent("!");
    ends_.await_urgent();
  }
  urgent_stream ends_;
  bool has_sent_ = false;
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
};

// --- Processes -----------------------------------------------------------------------------------

// Lets children end whose input is a pipe that nothing is written to.
class child_world : public scenario {
 public:
  // The children that earlier runs dropped are reaped by another thread. complete() would take one
  // of them for its own.
  child_world(loop& l, virtual_time&) : input_(l, ends_[0], ownership::borrowed) {
    await_no_child();
  }
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

// --- Objects that tasks share --------------------------------------------------------------------

// The awaitable is `make` of the object. The first one is older than its wait, and may outlive the
// object, which is gone after close(); complete() has no effect then.
template <class Source, auto make>
class source_world : public scenario {
 public:
  template <class... Args>
  explicit source_world(Args&&... args) : source(std::in_place, std::forward<Args>(args)...) {}
  void close() override { source.reset(); }
  auto awaited() {
    if (!first_) return make(*source);
    auto older = *std::move(first_);
    first_.reset();
    return older;
  }

 protected:
  std::optional<Source> source;

 private:
  std::optional<decltype(make(std::declval<Source&>()))> first_ = make(*source);
};
constexpr auto make_wait = [](auto& source) { return source.wait(); };
constexpr auto make_receive = [](auto& source) { return source.receive(); };
constexpr auto make_send = [](auto& source) { return source.send(1); };

struct waiting_for_event : source_world<event, make_wait> {
  waiting_for_event(loop&, virtual_time&) {}
  void complete() override {
    if (source) source->set();
  }
};
// Each set() lets one wait go, or is still there.
class waiting_for_one_event : public source_world<auto_reset_event, make_wait> {
 public:
  waiting_for_one_event(loop&, virtual_time&) {}
  void complete() override {
    if (!source || given_ != delivered) return;  // a second one would count for nothing
    source->set();
    ++given_;
  }
  bool nothing_missing() override {
    return source ? given_ == delivered + (source->is_set() ? 1 : 0) : given_ >= delivered;
  }

 private:
  int given_ = 0;
};
class locking : public source_world<kedge::mutex, [](auto& m) { return m.lock(); }> {
 public:
  locking(loop& l, virtual_time&) : held_(l.run(source->lock()).value()) {}
  void complete() override { held_.reset(); }
  bool nothing_missing() override { return !source || source->is_locked() == held_.has_value(); }

 private:
  std::optional<kedge::mutex::guard> held_;
};
class acquiring : public source_world<semaphore, [](auto& s) { return s.acquire(2); }> {
 public:
  acquiring(loop&, virtual_time&) : source_world(0u, 3u) {}
  void complete() override {
    if (source && source->available() < 3) source->release(), ++given_;
  }
  bool nothing_missing() override { return !source || source->available() == given_; }

 private:
  std::size_t given_ = 0;
};
struct waiting_for_latch : source_world<latch, make_wait> {
  waiting_for_latch(loop&, virtual_time&) : source_world(1u) {}
  void complete() override {
    if (source && source->left() != 0) source->count_down();
  }
};
// The other one arrives when the task waits.
class arriving : public source_world<barrier, [](auto& b) { return b.arrive_and_wait(); }> {
 public:
  arriving(loop& l, virtual_time&) : source_world(2u), in_(l) {}
  void complete() override {
    if (source && source->arrived() == 1) in_.spawn(source->arrive_and_wait());
  }
  bool nothing_missing() override { return !source || source->arrived() == 0; }

 private:
  loop& in_;
};
constexpr auto make_until_odd = [](auto& v) { return v.until([](int n) { return n % 2 == 1; }); };
class watching : public source_world<value<int>, make_until_odd> {
 public:
  watching(loop&, virtual_time&) : source_world(0) {}
  // Every other value is a false alarm.
  void complete() override {
    if (source) source->set(++last_);
  }

 private:
  int last_ = 1;
};
// Each item is received, or is still in the channel.
template <std::size_t Capacity>
class receiving : public source_world<channel<int>, make_receive> {
 public:
  receiving(loop&, virtual_time&) : source_world(Capacity) {}
  void complete() override {
    if (source && source->try_send(1)) ++given_;
  }
  bool nothing_missing() override {
    const auto got = static_cast<std::size_t>(delivered);
    return source ? given_ == got + source->size() : given_ >= got;
  }

 private:
  std::size_t given_ = 0;
};
// Each item that was sent is received, or is in the channel. The channel is full at first.
template <std::size_t Capacity>
class sending : public source_world<channel<int>, make_send> {
 public:
  sending(loop&, virtual_time&) : source_world(Capacity) { fill(); }
  void complete() override {
    if (!source) return;
    if (const auto got = source->try_receive()) received_ += *got;
  }
  void took(const result<void, unsent<int>>& r) {
    r ? static_cast<void>(++delivered) : static_cast<void>(error = r.error().code());
  }
  bool nothing_missing() override {
    if (!source) return true;
    while (const auto got = source->try_receive()) received_ += *got;
    fill();
    return received_ >= delivered;
  }
  bool all_delivered() override { return !source || received_ == delivered; }

 private:
  void fill() {
    while (source->try_send(0)) {
    }
  }
  int received_ = 0;
};
// Takes items, now from one channel and now from the other, and never from both.
struct two_channels {
  two_channels() {}
  channel<int> a{1};
  channel<int> b{1};
  value<int> v{0};
};
constexpr auto make_select = [](auto& s) {
  return select(s.a.receive(), s.b.receive(), s.v.until([](int) { return false; }),
                sleep_for(10'000h));
};
class selecting : public source_world<two_channels, make_select> {
 public:
  selecting(loop&, virtual_time&) {}
  void complete() override {
    if (!source) return;
    source->v.set(1);  // a false alarm
    given_ += source->a.try_send(1).has_value();
    given_ += source->b.try_send(1).has_value();
  }
  template <class Taken>
  void took(const Taken& taken) {
    if (const auto* const item = std::get_if<0>(&taken)) scenario::took(*item);
    if (const auto* const item = std::get_if<1>(&taken)) scenario::took(*item);
    if (const auto* const seen = std::get_if<2>(&taken)) scenario::took(*seen);
  }
  bool nothing_missing() override {
    const auto got = static_cast<std::size_t>(delivered);
    return source ? given_ == got + source->a.size() + source->b.size() : given_ >= got;
  }

 private:
  std::size_t given_ = 0;
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
struct naming : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return named("reader", read_byte()); }
};
struct naming_the_branch : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return named("reader", read_byte()).in_coroutine(); }
};
struct naming_a_branch : keeping_world {
  using keeping_world::keeping_world;
  auto awaited() { return shield(named("reader", read_byte())); }
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
// At most one of its children runs, another one ends with the others, and it drains.
class with_limit : public pipe_world {
 public:
  using pipe_world::pipe_world;
  auto awaited() { return with_scope(body(*this)); }

 private:
  class body {
   public:
    explicit body(with_limit& w) noexcept : world_(w) {}
    task<int> operator()(scope& s) const { return world_.spawn_children(s); }

   private:
    with_limit& world_;
  };
  task<int> spawn_children(scope& s) {
    const sweep_detail::counted_life life(live);
    s.set_limit(1);
    s.spawn([this] { return child(); });
    s.spawn(sleep_for(0s));
    s.spawn([this] { return child(); });
    s.spawn(background([this] { return endless(); }));
    s.spawn(background([] { return forever(); }));
    const result<void> room = co_await s.room();
    s.drain(1000h);
    co_return room ? 1 : 0;
  }
  task<> child() {
    const sweep_detail::counted_life life(live);
    static_cast<void>(co_await read_byte());
  }
  task<> endless() {
    const sweep_detail::counted_life life(live);
    co_await forever();
  }
};
// One of its children fails, the failure of another one is handled.
class with_failures : public pipe_world {
 public:
  using pipe_world::pipe_world;
  auto awaited() { return collect(); }

 private:
  struct failed {};

  task<std::size_t> collect() {
    const sweep_detail::counted_life life(live);
    std::vector<std::exception_ptr> failures;
    const auto body = [this](scope& s) {
      s.spawn(handled([this] { return fail(); },
                      [this](const std::exception_ptr&) { return child(); }));
      return fail();
    };
    try {
      co_await with_scope(body, failures);
    } catch (const failed&) {
    }
    co_return failures.size();
  }
  task<> fail() {
    co_await child();
    throw failed();
  }
  task<> child() {
    const sweep_detail::counted_life life(live);
    static_cast<void>(co_await read_byte());
  }
};
// A scope of a loop's own, which no cancellation of tasks reaches.
class scope_of_loop : public scope {
 public:
  explicit scope_of_loop(reactor& r) noexcept { open_root(r); }
  ~scope_of_loop() { destroy_children(); }

 private:
  waiter* all_children_done() noexcept override { return nullptr; }
};
class starting_a_child : public pipe_world {
 public:
  starting_a_child(loop& l, virtual_time& time)
      : pipe_world(l, time), scope_(l.attachment<scope_of_loop>()) {}
  auto awaited() { return scope_.start(child, this); }

 private:
  static task<> child(started<result<int>>& ready, starting_a_child* world) {
    ready.report(co_await world->read_byte());
    co_await yield();
  }

 protected:
  scope& scope_;
};
// The child waits for room first.
class starting_a_kept_child : public starting_a_child {
 public:
  starting_a_kept_child(loop& l, virtual_time& time) : starting_a_child(l, time) {
    scope_.set_limit(1);
    scope_.spawn(yield());
  }
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
TEST_CASE("sweep: a wait for a file or an event that is interrupted loses nothing that has come") {
  SUBCASE("vnode") {
    sweep<changing_vnode>("event_awaitable");
  }
  SUBCASE("watch_file") {
    sweep<saving_file>("event_awaitable");
  }
  SUBCASE("user_event") {
    sweep<triggering>("event_awaitable");
  }
  SUBCASE("exceptional_fd") {
    sweep<sending_urgent>("event_awaitable");
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
TEST_CASE("sweep: a wait for an object that is interrupted leaves what it was handed to the next") {
  SUBCASE("event") {
    sweep<waiting_for_event>("source_awaitable");
  }
  SUBCASE("auto_reset_event") {
    sweep<waiting_for_one_event>("source_awaitable");
  }
  SUBCASE("mutex") {
    sweep<locking>("source_awaitable");
  }
  SUBCASE("semaphore") {
    sweep<acquiring>("source_awaitable");
  }
  SUBCASE("latch") {
    sweep<waiting_for_latch>("source_awaitable");
  }
  SUBCASE("barrier") {
    sweep<arriving>("source_awaitable");
  }
  SUBCASE("value") {
    sweep<watching>("until_awaitable");
  }
}
TEST_CASE("sweep: a wait for a channel that is interrupted loses no item that was sent") {
  SUBCASE("receive") {
    sweep<receiving<2>>("source_awaitable");
  }
  SUBCASE("receive of a rendezvous") {
    sweep<receiving<0>>("source_awaitable");
  }
  SUBCASE("send") {
    sweep<sending<1>>("source_awaitable");
  }
  SUBCASE("send of a rendezvous") {
    sweep<sending<0>>("source_awaitable");
  }
  SUBCASE("select") {
    sweep<selecting>("select_awaitable");
  }
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
TEST_CASE("sweep: a wait with a name") {
  SUBCASE("in a coroutine") {
    sweep<naming>("named_awaitable");
  }
  SUBCASE("that has been given its branch") {
    sweep<naming_the_branch>("named_branch_awaitable");
  }
  SUBCASE("in a branch of another") {
    sweep<naming_a_branch>("shield_awaitable");
  }
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
  SUBCASE("with children of all kinds of awaitables") {
    sweep<with_children>("scope_awaitable");
  }
  SUBCASE("with a limit, background children and a drain") {
    sweep<with_limit>("scope_awaitable");
  }
  SUBCASE("with failures") {
    sweep<with_failures>("task");
  }
}
TEST_CASE("sweep: a start that is interrupted ends its child, unless that has reported") {
  SUBCASE("at once") {
    sweep<starting_a_child>("start_awaitable");
  }
  SUBCASE("when there is room") {
    sweep<starting_a_kept_child>("start_awaitable");
  }
}

}  // namespace
}  // namespace kedge
