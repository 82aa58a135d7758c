// The loop's queue of what may run next: first in, first out, intrusive.
//
// A node is in at most one queue, and leaves it in constant time by itself when it is destroyed;
// so whatever is dropped while it was ready is simply no longer run. A queue that is destroyed
// first leaves its nodes unlinked. Neither allocates. Loop's thread only.
#pragma once

namespace kedge {

class ready_node {
 public:
  ready_node(const ready_node&) = delete;
  ready_node& operator=(const ready_node&) = delete;

  bool queued() const noexcept { return next_ != nullptr; }

  void unlink() noexcept {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 protected:
  ready_node() = default;
  ~ready_node() { unlink(); }

 private:
  template <class Node>
  friend class ready_queue;
  ready_node* previous_ = nullptr;
  ready_node* next_ = nullptr;
};

template <class Node>
class ready_queue {
 public:
  ready_queue() noexcept { end_.previous_ = end_.next_ = &end_; }
  ready_queue(const ready_queue&) = delete;
  ready_queue& operator=(const ready_queue&) = delete;
  ~ready_queue() {
    while (!empty()) end_.next_->unlink();
    end_.previous_ = end_.next_ = nullptr;
  }

  bool empty() const noexcept { return end_.next_ == &end_; }

  void push_back(Node& node) noexcept {
    ready_node& n = node;
    n.previous_ = end_.previous_;
    n.next_ = &end_;
    end_.previous_->next_ = &n;
    end_.previous_ = &n;
  }

  // The longest waiting node, unlinked. The queue must not be empty.
  Node& pop_front() noexcept {
    ready_node& n = *end_.next_;
    n.unlink();
    return static_cast<Node&>(n);
  }

 private:
  struct sentinel : ready_node {
  } end_;
};

}  // namespace kedge
