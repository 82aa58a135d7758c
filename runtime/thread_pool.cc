// thread_pool: the queue, and the threads that serve it.
#include "kedge/runtime/thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/base/parker.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/start_thread.h"

namespace kedge {

class thread_pool::state : public std::enable_shared_from_this<state> {
 public:
  explicit state(std::size_t threads) noexcept : limit_(threads) {}

  // In a forked child the mutex may be held by a thread that does not exist there.
  bool is_of_parent() const noexcept { return generation_ != fork_generation(); }

  void submit(std::shared_ptr<job> j);
  progress leave(job& j) noexcept;
  void wait_for(job& j) noexcept;
  // Returns false if a thread of the pool may still use this state.
  bool close() noexcept;

 private:
  friend class job;
  void submit_to(base::parker& scheduler, std::shared_ptr<job> j);
  static void* run(void* self) noexcept;
  int start_one() noexcept;
  void serve() noexcept;
  std::shared_ptr<job> take_front() noexcept;

  const std::size_t limit_;
  const unsigned generation_ = fork_generation();
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_ended_;
  base::list<job, &job::link_> queue_;
  std::size_t queued_ = 0;
  std::size_t idle_ = 0;  // threads that wait for work
  std::vector<pthread_t> threads_;
  bool is_closed_ = false;
};

// Throws nothing once the job is queued.
void thread_pool::state::submit(std::shared_ptr<job> j) {
  if (is_of_parent()) throw std::system_error(errc::forked, "kedge::thread_pool");
  const std::lock_guard lock(mutex_);
  if (is_closed_) throw std::system_error(errc::closed, "kedge::thread_pool");
  if (base::parker* const scheduler = base::parker::of_thread()) [[unlikely]]
    return submit_to(*scheduler, std::move(j));
  if (idle_ <= queued_ && threads_.size() < limit_) {
    const int error = start_one();
    if (error != 0 && threads_.empty()) {
      throw std::system_error(error, std::system_category(),
                              "kedge::thread_pool: cannot start its first thread");
    }
  }
  job& queued = *j;
  queued.queued_self_ = std::move(j);
  queued.stage_ = job::stage::queued;
  queue_.push_back(queued);
  ++queued_;
  has_work_.notify_one();
}

// The job is in no queue: pools of the program are shared by the processes of a simulation, but
// their jobs are not.
void thread_pool::state::submit_to(base::parker& scheduler, std::shared_ptr<job> j) {
  job& queued = *j;
  queued.scheduled_by_ = shared_from_this();
  queued.stage_ = job::stage::queued;
  scheduler.run_later(job::run_scheduled, std::move(j));
}

void thread_pool::job::run_scheduled(const std::shared_ptr<void>& self) noexcept {
  const auto held = std::static_pointer_cast<job>(self);
  job& j = *held;
  const std::shared_ptr<class state> pool = std::move(j.scheduled_by_);
  bool is_closed = false;
  {
    const std::lock_guard lock(pool->mutex_);
    if (j.stage_ != stage::queued) return;  // withdrawn
    is_closed = pool->is_closed_;
    j.stage_ = stage::running;
  }
  if (!is_closed) j.call();
  {
    const std::lock_guard lock(pool->mutex_);
    j.stage_ = stage::ended;
  }
  j.post_wake(held);
}

// Returns 0 or an errno.
int thread_pool::state::start_one() noexcept {
  try {
    threads_.reserve(threads_.size() + 1);
    pthread_t thread;
    const int error = start_thread(thread, &run, this);
    if (error == 0) threads_.push_back(thread);
    return error;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

void* thread_pool::state::run(void* self) noexcept {
  static_cast<state*>(self)->serve();
  return nullptr;
}

std::shared_ptr<thread_pool::job> thread_pool::state::take_front() noexcept {
  --queued_;
  return std::move(queue_.pop_front()->queued_self_);
}

void thread_pool::state::serve() noexcept {
  std::unique_lock lock(mutex_);
  while (!is_closed_) {
    if (queue_.empty()) {
      ++idle_;
      has_work_.wait(lock);
      --idle_;
      continue;
    }
    const std::shared_ptr<job> j = take_front();
    j->stage_ = job::stage::running;
    lock.unlock();
    j->call();
    lock.lock();
    j->stage_ = job::stage::ended;
    has_ended_.notify_all();
    lock.unlock();
    j->post_wake(j);
    lock.lock();
  }
}

thread_pool::progress thread_pool::state::leave(job& j) noexcept {
  if (is_of_parent()) return progress::unknown;
  std::shared_ptr<job> withdrawn;  // is destroyed without the mutex
  const std::lock_guard lock(mutex_);
  if (j.stage_ == job::stage::running) return progress::running;
  if (j.stage_ != job::stage::queued) return progress::ended;
  if (j.scheduled_by_ == nullptr) {
    queue_.remove(j);
    --queued_;
  }
  j.stage_ = job::stage::idle;
  withdrawn = std::move(j.queued_self_);
  return progress::withdrawn;
}

void thread_pool::state::wait_for(job& j) noexcept {
  std::unique_lock lock(mutex_);
  while (j.stage_ == job::stage::running) has_ended_.wait(lock);
}

// A function of the pool may end the program, and so destroy a static pool: its own thread is not
// joined.
bool thread_pool::state::close() noexcept {
  std::unique_lock lock(mutex_);
  is_closed_ = true;
  while (!queue_.empty()) {
    const std::shared_ptr<job> j = take_front();
    j->stage_ = job::stage::ended;
    lock.unlock();
    j->post_wake(j);
    lock.lock();
  }
  lock.unlock();
  has_work_.notify_all();
  bool all_joined = true;
  for (const pthread_t thread : threads_) {
    if (pthread_equal(thread, pthread_self()) != 0) {
      all_joined = false;
      pthread_detach(thread);
    } else {
      pthread_join(thread, nullptr);
    }
  }
  return all_joined;
}

namespace {

constinit process_pool pool_of_process(32);

// What a forked child, or a pool that its own thread destroys, leaves as it is. Only so that a leak
// checker finds it.
constinit std::atomic<const void*> left_behind{nullptr};

std::size_t checked(std::size_t threads) {
  if (threads == 0) throw std::invalid_argument("kedge::thread_pool: a pool of zero threads");
  return threads;
}

}  // namespace

thread_pool::thread_pool(std::size_t threads) : state_(std::make_shared<state>(checked(threads))) {}

thread_pool::~thread_pool() {
  if (state_->is_of_parent() || !state_->close()) {
    left_behind.store(new (std::nothrow) std::shared_ptr<state>(std::move(state_)));
  }
}

bool thread_pool::is_of_parent() const noexcept {
  return state_->is_of_parent();
}

thread_pool& thread_pool::of_process() {
  return pool_of_process.get();
}

// Without a static local: a forked child could wait for ever for its initialisation to end.
thread_pool& process_pool::get() {
  thread_pool* present = pool_.load(std::memory_order_acquire);
  while (present == nullptr || present->is_of_parent()) {
    const base::outside_heap shared;
    auto made = std::make_unique<thread_pool>(threads_);
    if (pool_.compare_exchange_strong(present, made.get(), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      if (present != nullptr) left_behind.store(present);
      present = made.release();
    }
  }
  return *present;
}

void thread_pool::submit(state& pool, std::shared_ptr<job> j) {
  pool.submit(std::move(j));
}

thread_pool::progress thread_pool::leave(state& pool, job& j) noexcept {
  return pool.leave(j);
}

void thread_pool::wait_for(state& pool, job& j) noexcept {
  pool.wait_for(j);
}

}  // namespace kedge
