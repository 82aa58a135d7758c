// list: a doubly linked list through its elements.
//
//   struct timer { base::list_link<timer> link; };
//   base::list<timer, &timer::link> timers;
//   timers.push_back(t);
//
// Threads: the caller locks. Ownership: the list owns nothing and never allocates. An element has
// one list_link for each list that it can be in at the same time, and leaves the list before it is
// destroyed.
//
// A list is one pointer, because every port has four lists: the `previous` of the first element is
// the last element. So the `previous` of a linked element is never null.
#pragma once

namespace kedge::base {

template <typename T>
struct list_link {
  T* previous = nullptr;
  T* next = nullptr;

  bool is_linked() const noexcept { return previous != nullptr; }
};

template <typename T, list_link<T> T::* Link>
class list {
 public:
  T* front() const noexcept { return first_; }
  T* back() const noexcept { return first_ ? (first_->*Link).previous : nullptr; }
  bool empty() const noexcept { return first_ == nullptr; }
  static T* after(T& element) noexcept { return (element.*Link).next; }

  void push_back(T& element) noexcept {
    if (!first_) {
      first_ = &element;
      element.*Link = {&element, nullptr};
      return;
    }
    T*& last = (first_->*Link).previous;
    element.*Link = {last, nullptr};
    (last->*Link).next = &element;
    last = &element;
  }
  void remove(T& element) noexcept {
    list_link<T>& link = element.*Link;
    (first_ == &element ? first_ : (link.previous->*Link).next) = link.next;
    // The next element, or the first one, whose `previous` is the last.
    if (T* const next = link.next ? link.next : first_) (next->*Link).previous = link.previous;
    link = {};
  }
  // Removes and returns an end of the list, null if the list is empty.
  T* pop_front() noexcept {
    T* element = first_;
    if (element) remove(*element);
    return element;
  }
  T* pop_back() noexcept {
    T* element = back();
    if (element) remove(*element);
    return element;
  }

 private:
  T* first_ = nullptr;
};

}  // namespace kedge::base
