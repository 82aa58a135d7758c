// object: what a name can stand for (a port or a port set), and what a kernel port can serve.
//
// Ownership: counted by references. The last release() deletes the object.
// Threads: `lock` guards everything in the object but the count.
// Once the receive right (or the set) is destroyed, the object is not active any more. References
// then only keep its memory.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/reference_count.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class deferred_work;

enum class object_kind : std::uint8_t { port, port_set, semaphore, file, memory_entry, timer };

class object {
 public:
  explicit object(object_kind which) noexcept : kind(which) {}
  object(const object&) = delete;
  object& operator=(const object&) = delete;

  [[gnu::always_inline]] void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  // Called when the port that serves the object is destroyed. No lock is held (Darwin:
  // iko_op_destroy).
  virtual void port_destroyed(deferred_work&) noexcept {}

  base::mutex lock;
  const object_kind kind;
  bool active = true;

 protected:
  virtual ~object() = default;

 private:
  reference_count references_;
};

// Holds the lock of an object. A function that takes one by value requires the lock and releases
// it.
using object_lock = std::unique_lock<base::mutex>;

// Releases a held lock until the end of the scope.
template <typename Lock>
class scoped_unlock {
 public:
  explicit scoped_unlock(Lock& held) : held_(held) { held_.unlock(); }
  ~scoped_unlock() { held_.lock(); }
  scoped_unlock(const scoped_unlock&) = delete;
  scoped_unlock& operator=(const scoped_unlock&) = delete;

 private:
  Lock& held_;
};

// A counted reference.
template <typename T>
class ref {
 public:
  ref() = default;
  explicit ref(T* target) noexcept : target_(target) {
    if (target_) target_->retain();
  }
  // Takes over the caller's reference.
  static ref adopt(T* target) noexcept {
    ref made;
    made.target_ = target;
    return made;
  }
  ref(const ref& other) noexcept : ref(other.target_) {}
  ref(ref&& other) noexcept : target_(std::exchange(other.target_, nullptr)) {}
  ref& operator=(ref other) noexcept {
    std::swap(target_, other.target_);
    return *this;
  }
  ~ref() {
    if (target_) target_->release();
  }

  T* get() const noexcept { return target_; }
  T* operator->() const noexcept { return target_; }
  T& operator*() const noexcept { return *target_; }
  explicit operator bool() const noexcept { return target_ != nullptr; }
  // Gives up the reference without releasing it.
  T* detach() noexcept { return std::exchange(target_, nullptr); }

 private:
  T* target_ = nullptr;
};

}  // namespace kedge::mach::kernel
