// sweep: interrupts a task that awaits one awaitable, at every point of its run and in every way,
// and checks that nothing is missing or left over.
//
//     class reading : public scenario { ... auto awaited() { return in_.read_some(buffer_); } ...
//     }; TEST_CASE("...") { sweep<reading>("transfer_awaitable"); }
//
// A *scenario* is a small world: sources, a function that makes the awaitable, and functions that
// let its wait end. The sweep runs it again and again: run k is interrupted at its k-th point,
// until a run ends before that point. The points of a run are the choices of the ready task that
// has its turn (what the task waited for has happened then, and the task has not resumed), and the
// times when no task is ready.
//
// Then each allocation of a run fails in turn, those of coroutine frames included; under
// ThreadSanitizer only the loop's own, which its observer makes fail.
//
// tools/check.py holds the awaitables of the libraries against the names of the sweeps.
#pragma once

#include <doctest/doctest.h>
#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"

namespace kedge {

// A registration with the loop's kqueue.
struct registered {
  std::int16_t filter;
  std::uint64_t ident;
};

// The world of one run. A derived class has a constructor (loop&, virtual_time&), and an awaited()
// that makes the awaitable. It outlives the loop in the runs that destroy the loop first.
class scenario {
 public:
  scenario(const scenario&) = delete;
  scenario& operator=(const scenario&) = delete;
  virtual ~scenario() = default;

  // A task that awaits awaited(), by itself or in a branch beside another wait.
  virtual task<> wait() = 0;
  virtual task<> wait_in_branch() = 0;
  virtual const std::type_info& awaited_type() const noexcept = 0;

  // Lets a wait in progress end. Called while no task is ready and the wait has not ended; more
  // than once if the awaitable waits more than once.
  virtual void complete() = 0;
  // Closes the source. No effect by default.
  virtual void close() {}
  // Returns false if something that was given was neither taken nor is still at its source.
  virtual bool nothing_missing() { return true; }
  // Returns false if something that a wait has taken was not given to its task. By default the
  // awaitable may lose what it has taken. Asked where no allocation failed.
  virtual bool all_delivered() { return true; }
  // Returns false if something that was given before a wait is still at its source after it.
  virtual bool nothing_left() { return true; }
  // Returns whether a wait may give `e` because an allocation has failed.
  virtual bool means_no_memory(const std::error_code& e) const {
    return e == std::errc::not_enough_memory || e == std::errc::resource_unavailable_try_again;
  }
  // What must not be in the kqueue after close().
  virtual std::vector<registered> registrations() const { return {}; }

  // How many waits gave a value, and the latest error that one gave.
  int delivered = 0;
  std::error_code error;
  // Live coroutines of wait().
  int live = 0;

 protected:
  scenario() = default;

  void took() { ++delivered; }
  template <class T>
  void took(const T&) {
    ++delivered;
  }
  template <class T>
  void took(const result<T, std::error_code>& r) {
    r ? static_cast<void>(++delivered) : static_cast<void>(error = r.error());
  }
};

namespace sweep_detail {

class counted_life {
 public:
  explicit counted_life(int& live) noexcept : live_(live) { ++live_; }
  counted_life(const counted_life&) = delete;
  counted_life& operator=(const counted_life&) = delete;
  ~counted_life() { --live_; }

 private:
  int& live_;
};

template <class World>
class runnable final : public World {
  using awaitable_type = decltype(std::declval<World&>().awaited());

 public:
  using World::World;

  task<> wait() override {
    const counted_life life(this->live);
    if constexpr (std::is_void_v<awaited_t<awaitable_type>>) {
      co_await this->awaited();
      this->took();
    } else {
      auto value = co_await this->awaited();
      this->took(std::move(value));
    }
  }
  task<> wait_in_branch() override {
    const counted_life life(this->live);
    auto [value, endless] = co_await when_any(this->awaited(), sleep_for(clock::duration::max()));
    if (value) this->took(*std::move(value));
  }
  const std::type_info& awaited_type() const noexcept override { return typeid(awaitable_type); }
};

using maker = std::unique_ptr<scenario> (*)(loop&, virtual_time&);

template <class World>
std::unique_ptr<scenario> make(loop& l, virtual_time& time) {
  return std::unique_ptr<scenario>(new runnable<World>(l, time));  // make_unique compiles slowly
}

// Counts what a room keeps outside of this process' memory: the names of its Mach rights.
using counter = std::size_t (*)();
inline std::size_t count_nothing() {
  return 0;
}

void sweep_interruptions(maker made, counter held);
void sweep_failures(maker made, counter held);
// Returns whether `name` is the name of the class `type`.
bool is_named(const std::type_info& type, std::string_view name);

}  // namespace sweep_detail

// `name` is the name of the awaitable's class.
template <class World>
void sweep(std::string_view name, sweep_detail::counter held = sweep_detail::count_nothing) {
  {
    virtual_time time;
    loop l(time);
    CHECK(sweep_detail::is_named(sweep_detail::make<World>(l, time)->awaited_type(), name));
  }
  sweep_detail::sweep_interruptions(sweep_detail::make<World>, held);
  sweep_detail::sweep_failures(sweep_detail::make<World>, held);
}

}  // namespace kedge
