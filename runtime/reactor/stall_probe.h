// stall_probe: what a loop tells the thread of its stall_watch.
//
// The loop stores the number of its present step: a resumption, or what comes before and between
// them in a turn. A number that stands still while the loop is busy is a stall. A loop without a
// probe stores nothing. With one, a resumption costs three stores, which no other thread writes,
// and more if the task has a name.
//
// Threads: sample() is the watching thread's, all else is the loop's thread's.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <source_location>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/clock.h"

namespace kedge {

// A time in which a loop did not get past one step.
struct stall {
  static constexpr std::size_t name_size = 32;

  std::source_location task;   // where the running task was spawned; line 0: none was running
  std::source_location place;  // the co_await from which it was resumed; line 0: it is unknown
  // The name that named() has given the task, cut off to 31 bytes; empty if it has none.
  std::array<char, name_size> name{};
  clock::duration duration{};  // until now, as the samples tell
  bool is_over = false;
};

class stall_probe {
 public:
  stall_probe() = default;
  stall_probe(const stall_probe&) = delete;
  stall_probe& operator=(const stall_probe&) = delete;

  // A turn begins, or goes on after its wait: posts, timers and events are taken.
  void begin() noexcept {
    const clock::time_point now = clock::now();
    end_turn(now);
    began_ = now;
    enter_step((number_ + 2) | busy, {}, {});
  }
  // `w` is resumed.
  void resume(const waiter& w) noexcept {
    const context& task = w.owner_context().of_task();
    enter_step(number_ + 2, task.place(), w.place(), task.name());
  }
  // The loop waits for the kernel, or is not being driven.
  void idle() noexcept {
    end_turn(clock::now());
    began_.reset();
    enter_step((number_ + 2) & ~busy, {}, {});
  }
  clock::duration longest_turn() const noexcept { return longest_turn_; }

  // Returns a stall that has lasted for `limit`, once, and again when it is over.
  std::optional<stall> sample(clock::duration limit, clock::time_point now) noexcept {
    const std::uint64_t step = step_.load(std::memory_order_acquire);
    if (step == sampled_) return going_on(limit, now);
    std::optional<stall> ended = reported_;
    if (ended) {
      ended->duration = now - since_;
      ended->is_over = true;
      reported_.reset();
    }
    sampled_ = step;
    since_ = now;
    return ended;
  }

 private:
  using name_words = std::array<std::uint64_t, stall::name_size / sizeof(std::uint64_t)>;

  static constexpr std::uint64_t busy = 1;

  void end_turn(clock::time_point now) noexcept {
    if (began_) longest_turn_ = std::max(longest_turn_, now - *began_);
  }
  // The number comes first: a sample that reads a new place also reads the new number behind it.
  void enter_step(std::uint64_t number, const std::source_location& task,
                  const std::source_location& place, const char* name = nullptr) noexcept {
    number_ = number;
    step_.store(number, std::memory_order_relaxed);
    task_.store(task, std::memory_order_release);
    place_.store(place, std::memory_order_release);
    if (name != nullptr || has_name_) [[unlikely]]
      store_name(name);
  }
  // The name may be freed while another thread reads it: so it is copied, a word at a time.
  void store_name(const char* name) noexcept {
    std::array<char, stall::name_size> text{};
    if (name != nullptr) std::strncpy(text.data(), name, text.size() - 1);
    const auto words = std::bit_cast<name_words>(text);
    for (std::size_t i = 0; i < words.size(); ++i) {
      name_[i].store(words[i], std::memory_order_release);
    }
    has_name_ = name != nullptr;
  }
  std::array<char, stall::name_size> load_name() const noexcept {
    name_words words{};
    for (std::size_t i = 0; i < words.size(); ++i) {
      words[i] = name_[i].load(std::memory_order_acquire);
    }
    return std::bit_cast<std::array<char, stall::name_size>>(words);
  }
  std::optional<stall> going_on(clock::duration limit, clock::time_point now) noexcept {
    if ((sampled_ & busy) == 0 || reported_ || now - since_ < limit) return std::nullopt;
    const stall found{task_.load(std::memory_order_acquire), place_.load(std::memory_order_acquire),
                      load_name(), now - since_, false};
    if (step_.load(std::memory_order_relaxed) != sampled_) return std::nullopt;
    reported_ = found;
    return found;
  }

  std::atomic<std::uint64_t> step_{0};
  std::atomic<std::source_location> task_{std::source_location()};
  std::atomic<std::source_location> place_{std::source_location()};
  std::array<std::atomic<std::uint64_t>, stall::name_size / sizeof(std::uint64_t)> name_{};
  // The loop's thread's:
  std::uint64_t number_ = 0;  // of the present step; odd while the loop is busy
  bool has_name_ = false;     // name_ is not empty
  std::optional<clock::time_point> began_;
  clock::duration longest_turn_{};
  // The watching thread's:
  std::uint64_t sampled_ = 0;
  clock::time_point since_{};
  std::optional<stall> reported_;
};

}  // namespace kedge
