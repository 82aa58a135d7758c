// stall_watch: the thread that samples.
#include "kedge/runtime/stall_watch.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/description.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/start_thread.h"

namespace kedge {

struct stall_watch::state {
  state(clock::duration most, reporter to) : limit(most), report(std::move(to)) {}

  static void* run(void* self) noexcept {
    static_cast<state*>(self)->sample();
    return nullptr;
  }

  void sample() noexcept {
    constexpr int samples_per_limit = 4;
    constexpr clock::duration least = std::chrono::milliseconds(1);
    constexpr clock::duration most = std::chrono::hours(1);
    const clock::duration between = std::clamp(limit / samples_per_limit, least, most);
    std::unique_lock lock(mutex);
    for (bool is_last = false; !is_last;) {
      is_last = ends;  // the last sample tells that a stall is over
      lock.unlock();
      if (const auto found = probe.sample(limit, clock::now())) report(*found);
      lock.lock();
      if (!ends) wake_up.wait_for(lock, between);
    }
  }

  const clock::duration limit;
  const reporter report;
  const unsigned generation = fork_generation();
  stall_probe probe;
  pthread_t thread{};
  std::mutex mutex;
  std::condition_variable wake_up;
  bool ends = false;
};

stall_watch::stall_watch(reactor& r, clock::duration limit, reporter report) : reactor_(r) {
  if (limit <= clock::duration::zero()) {
    throw std::invalid_argument("kedge::stall_watch: the limit is not positive");
  }
  state_ = std::make_unique<state>(limit, std::move(report));
  if (stall_probe* const present = r.set_probe(&state_->probe)) {
    r.set_probe(present);
    throw std::logic_error("kedge::stall_watch: the loop is watched already");
  }
  if (const int error = start_thread(state_->thread, &state::run, state_.get())) {
    r.set_probe(nullptr);
    throw std::system_error(error, std::system_category(), "kedge::stall_watch: no thread");
  }
}

stall_watch::~stall_watch() {
  reactor_.set_probe(nullptr);
  if (state_->generation != fork_generation()) {
    // The thread does not exist here, and may have held the mutex.
    const state* const kept = state_.release();
    static_cast<void>(kept);
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends = true;
  }
  state_->wake_up.notify_one();
  pthread_join(state_->thread, nullptr);
}

void stall_watch::print(const stall& s) noexcept {
  description line;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(s.duration).count();
  const bool is_task = s.task.line() != 0 || s.place.line() != 0;
  line.print("kedge: %s", is_task ? "a task" : "posted work");
  if (s.name.front() != '\0') line.print(" \"%s\"", s.name.data());
  line.print(" %s its loop busy for %lld ms", s.is_over ? "kept" : "has kept",
             static_cast<long long>(ms));
  if (s.task.line() != 0) {
    line.print(": from ");
    print_place(line, s.task);
  }
  if (s.place.line() != 0) {
    line.print("%s resumed at ", s.task.line() != 0 ? "," : ":");
    print_place(line, s.place);
  }
  std::fprintf(stderr, "%s\n", line.text());
}

}  // namespace kedge
