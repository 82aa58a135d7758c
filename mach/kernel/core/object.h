// What a name can stand for, a port or a port set, and what a port of the kernel's can serve.
// Counted by references; the last one frees it. `lock` guards everything in the object but the
// count. An object whose receive right (or set) is destroyed is no longer active; references keep
// only its memory.
#pragma once

#include <cstdint>
#include <utility>

#include "kedge/mach/kernel/core/reference_count.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

enum class object_kind : std::uint8_t { port, port_set, semaphore, file, memory_entry };

class object {
 public:
  explicit object(object_kind what) noexcept : kind(what) {}
  object(const object&) = delete;
  object& operator=(const object&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  base::mutex lock;
  const object_kind kind;
  bool active = true;

 protected:
  virtual ~object() = default;

 private:
  reference_count references_;
};

// A counted reference.
template <typename T>
class ref {
 public:
  ref() = default;
  explicit ref(T* object) noexcept : object_(object) {
    if (object_) object_->retain();
  }
  static ref adopt(T* object) noexcept {
    ref made;
    made.object_ = object;
    return made;
  }
  ref(const ref& other) noexcept : ref(other.object_) {}
  ref(ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ref& operator=(ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~ref() {
    if (object_) object_->release();
  }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  // Gives up the reference without releasing it.
  T* detach() noexcept { return std::exchange(object_, nullptr); }

 private:
  T* object_ = nullptr;
};

}  // namespace kedge::mach::kernel
