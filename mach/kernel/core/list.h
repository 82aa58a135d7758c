// A doubly linked list through its elements, of which each has a `link` per list it can be in. It
// owns nothing.
#pragma once

namespace kedge::mach::kernel {

template <typename T>
struct list_link {
  T* previous = nullptr;
  T* next = nullptr;
  bool linked = false;
};

template <typename T, list_link<T> T::* Link>
class list {
 public:
  T* front() const noexcept { return first_; }
  T* back() const noexcept { return last_; }
  bool empty() const noexcept { return first_ == nullptr; }
  static T* after(T& element) noexcept { return (element.*Link).next; }

  void push_back(T& element) noexcept {
    list_link<T>& link = element.*Link;
    link = {last_, nullptr, true};
    (last_ ? (last_->*Link).next : first_) = &element;
    last_ = &element;
  }
  void remove(T& element) noexcept {
    list_link<T>& link = element.*Link;
    (link.previous ? (link.previous->*Link).next : first_) = link.next;
    (link.next ? (link.next->*Link).previous : last_) = link.previous;
    link = {};
  }
  T* pop_front() noexcept {
    T* element = first_;
    if (element) remove(*element);
    return element;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace kedge::mach::kernel
