// The runs of a sweep. Each makes a loop and a world of its own, with frames that are counted.
#include "sweep.h"

#include <array>
#include <new>
#include <ostream>
#include <stdexcept>
#include <string>

#include "counted_new.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/observer.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge::sweep_detail {
namespace {

// More events than any run has.
constexpr int most_events = 1000;

// Takes each frame from operator new, so that a frame that is left over or used too late is found.
class counted_frames final : public frame_resource {
 public:
  counted_frames() { frame_recycler::use(this); }
  counted_frames(const counted_frames&) = delete;
  counted_frames& operator=(const counted_frames&) = delete;
  ~counted_frames() { frame_recycler::use(nullptr); }

  void* allocate(std::size_t size) override {
    void* const block = ::operator new(size);
    ++live;
    return block;
  }
  void release(void* block, std::size_t) noexcept override {
    --live;
    ::operator delete(block);
  }

  int live = 0;
};

enum class act { none, cancel, destroy, complete, close };

// What happens at one point of a run, in this order, within one turn.
using interruption = std::array<act, 2>;
constexpr interruption ways[] = {
    {act::cancel, act::none},     {act::destroy, act::none},     {act::complete, act::cancel},
    {act::cancel, act::complete}, {act::complete, act::destroy}, {act::cancel, act::destroy},
    {act::close, act::none},      {act::close, act::cancel},     {act::cancel, act::close},
    {act::close, act::destroy},   {act::complete, act::close},   {act::close, act::complete},
};

bool has(const interruption& way, act a) {
  return way[0] == a || way[1] == a;
}

// Throws out of the drive at the point `at`.
class stopper final : public observer {
 public:
  struct stop {};

  explicit stopper(int at) noexcept : left_(at) {}
  std::size_t choose(std::size_t) override {
    if (is_here()) throw stop();
    return 0;
  }
  // Where operator new cannot be replaced.
  bool fail_allocation() noexcept override {
    return !counts_allocations && until_failure >= 0 && until_failure-- == 0;
  }
  // Counts a point. Returns whether it is the one.
  bool is_here() noexcept { return left_-- == 0; }

 private:
  int left_;
};

class observed {
 public:
  observed(loop& l, observer& o) noexcept : loop_(l) { loop_.set_observer(&o); }
  observed(const observed&) = delete;
  observed& operator=(const observed&) = delete;
  ~observed() { loop_.set_observer(nullptr); }

 private:
  loop& loop_;
};

// A loop, a world and their drive.
class run {
 public:
  run(maker made, bool in_branch)
      : loop_(std::in_place, time_), world_(made(*loop_, time_)), in_branch_(in_branch) {}

  scenario& world() noexcept { return *world_; }

  void start() { loop_->spawn(in_branch_ ? world_->wait_in_branch() : world_->wait()); }

  // Drives until the point k. Returns false if all tasks end before it.
  bool reach(int k) {
    stopper at(k);
    const observed scope(*loop_, at);
    return reach(at);
  }

  bool start_and_reach(int k) {
    stopper at(k);
    const observed scope(*loop_, at);
    start();
    return reach(at);
  }

  // Drives until all tasks have ended.
  void finish() { CHECK_FALSE(reach(most_events)); }

  void apply(act a) {
    if (a == act::cancel) loop_->cancel();
    if (a == act::complete) world_->complete();
    if (a == act::close) world_->close();
    if (a == act::destroy) loop_.reset();
  }

  // Nothing is missing, and nothing but the idle sources is left over.
  void check_quiet() {
    CHECK(world_->live == 0);
    CHECK(loop_->timers().empty());
    CHECK(world_->nothing_missing());
  }
  void check_next_wait() {
    const int before = world_->delivered;
    start();
    finish();
    CAPTURE(world_->error.message());
    CHECK(world_->delivered > before);
    check_quiet();
    CHECK(world_->nothing_left());
  }
  // Nothing is left in the kqueue once the sources are closed.
  void check_kqueue() {
    world_->close();
    loop_->poll();
    CHECK(loop_->registrations()->pending() == 0);
    for (const registered& r : world_->registrations()) {
      CAPTURE(r.filter);
      kevent64_s removal{};
      removal.ident = r.ident;
      removal.filter = r.filter;
      removal.flags = EV_DELETE;
      CHECK(kevent64(loop_->native_handle(), &removal, 1, nullptr, 0, 0, nullptr) == -1);
    }
  }
  // The loop is gone. A value that a branch had taken went with it.
  void check_destroyed() {
    CHECK(world_->live == 0);
    if (!in_branch_) CHECK(world_->nothing_missing());
  }

 private:
  bool reach(stopper& at) {
    try {
      return drive(at);
    } catch (const stopper::stop&) {
      return true;
    }
  }
  bool drive(stopper& at) {
    for (int i = 0; i < most_events; ++i) {
      if (loop_->step()) continue;
      if (loop_->size() == 0) return false;
      if (at.is_here()) return true;
      const long armed = std::exchange(until_failure, -1);
      world_->complete();
      until_failure = armed;
    }
    return true;
  }

  virtual_time time_;
  std::optional<loop> loop_;
  std::unique_ptr<scenario> world_;
  bool in_branch_;
};

// Returns false if the run ended before the point k.
bool interrupt(maker made, bool in_branch, const interruption& way, int k) {
  run r(made, in_branch);
  r.start();
  const bool reached = r.reach(k);
  if (reached) {
    for (const act a : way) r.apply(a);
  }
  if (reached && has(way, act::destroy)) {
    r.check_destroyed();
    return true;
  }
  r.finish();
  r.check_quiet();
  CHECK(r.world().all_delivered());
  if (!reached || !has(way, act::close)) r.check_next_wait();
  r.check_kqueue();
  return reached;
}

// Runs to the end while the k-th allocation fails. Returns whether it has failed.
bool run_with_failure(run& r, long k) {
  until_failure = k;
  std::error_code code;
  try {
    r.start_and_reach(most_events);
  } catch (const std::bad_alloc&) {
    code = std::make_error_code(std::errc::not_enough_memory);
  } catch (const std::system_error& e) {
    code = e.code();
  }
  const bool failed = std::exchange(until_failure, -1) < 0;
  if (code) {
    CAPTURE(code.message());
    CHECK(r.world().means_no_memory(code));
  }
  return failed;
}

// Returns false if the run has fewer than k allocations.
bool fail(maker made, bool in_branch, long k) {
  run r(made, in_branch);
  const bool failed = run_with_failure(r, k);
  r.finish();
  if (const std::error_code error = r.world().error; failed && error) {
    CAPTURE(error.message());
    CHECK(r.world().means_no_memory(error));
  }
  if (!failed) CHECK(r.world().delivered > 0);
  r.check_quiet();
  r.check_next_wait();
  r.check_kqueue();
  return failed;
}

}  // namespace

void sweep_interruptions(maker made, counter held) {
  for (const bool in_branch : {false, true}) {
    CAPTURE(in_branch);
    for (const interruption& way : ways) {
      CAPTURE(static_cast<int>(way[0]));
      CAPTURE(static_cast<int>(way[1]));
      bool reached = true;
      for (int k = 0; reached; ++k) {
        CAPTURE(k);
        REQUIRE(k < most_events);
        const std::size_t before = held();
        counted_frames frames;
        reached = interrupt(made, in_branch, way, k);
        CHECK(frames.live == 0);
        CHECK(held() == before);
      }
    }
  }
}

void sweep_failures(maker made, counter held) {
  for (const bool in_branch : {false, true}) {
    CAPTURE(in_branch);
    bool failed = true;
    for (long k = 0; failed; ++k) {
      CAPTURE(k);
      const std::size_t before = held();
      counted_frames frames;
      failed = fail(made, in_branch, k);
      CHECK(frames.live == 0);
      CHECK(held() == before);
    }
  }
}

// The name is a part of the mangled name, behind its length.
bool is_named(const std::type_info& type, std::string_view name) {
  const std::string part = std::to_string(name.size()) + std::string(name);
  return std::string_view(type.name()).find(part) != std::string_view::npos;
}

}  // namespace kedge::sweep_detail
