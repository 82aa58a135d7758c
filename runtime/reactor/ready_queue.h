// ready_queue, ready_node: the loop's intrusive FIFO of waiters that are ready to run.
//
// A node is in at most one queue, and leaves it by unlink(), in constant time, before it is
// destroyed: a waiter that is dropped while it is ready does not run. Its destructor does not look,
// which every await would pay for: a coroutine's waiter is unlinked by context::destroy_frames().
// A queue that is destroyed first leaves its nodes unlinked. Nothing allocates. A ring rather than
// base::list, since a node unlinks itself without knowing its queue.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>

namespace kedge {

class ready_node {
 public:
  ready_node(const ready_node&) = delete;
  ready_node& operator=(const ready_node&) = delete;

  bool queued() const noexcept { return next_ != nullptr; }

  // Leaves the queue. No effect on a node that is not queued.
  void unlink() noexcept {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = nullptr;
  }

 protected:
  ready_node() noexcept {}  // leaves `previous_` as it is: one store less for each wait
  ~ready_node() = default;

 private:
  template <class Node>
  friend class ready_queue;
  ready_node* previous_;  // of a queued node
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
    end_.next_ = nullptr;
  }

  bool empty() const noexcept { return end_.next_ == &end_; }

  // Requires that `node` is not queued.
  void push_back(Node& node) noexcept {
    ready_node& n = node;
    ready_node* const last = end_.previous_;
    // In this order, in which g++ does not assemble the two stores into `n` in a vector register.
    n.next_ = &end_;
    last->next_ = &n;
    n.previous_ = last;
    end_.previous_ = &n;
  }

  // Returns the oldest node, or null.
  Node* front() const noexcept { return behind(end_); }
  // Returns the node after `n`, which is in this queue, or null.
  Node* after(const Node& n) const noexcept { return behind(n); }

  // The number of nodes, in linear time.
  std::size_t size() const noexcept {
    std::size_t count = 0;
    for (const ready_node* n = end_.next_; n != &end_; n = n->next_) ++count;
    return count;
  }

  // Unlinks and returns the node after the `index` oldest ones, in linear time. Requires that
  // `index` is less than size().
  Node& pop(std::size_t index) noexcept {
    ready_node* n = end_.next_;
    while (index-- != 0) n = n->next_;
    n->unlink();
    return static_cast<Node&>(*n);
  }

  // Unlinks and returns the oldest node. Requires that the queue is not empty.
  Node& pop_front() noexcept {
    ready_node& n = *end_.next_;
    end_.next_ = n.next_;
    n.next_->previous_ = &end_;
    n.next_ = nullptr;
    return static_cast<Node&>(n);
  }

 private:
  Node* behind(const ready_node& n) const noexcept {
    return n.next_ != &end_ ? static_cast<Node*>(n.next_) : nullptr;
  }

  struct sentinel : ready_node {
  } end_;
};

}  // namespace kedge
