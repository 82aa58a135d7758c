#include "kedge/runtime/reactor/ready_queue.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

namespace {

struct node : kedge::ready_node {
  explicit node(int n) : number(n) {}
  ~node() { unlink(); }
  int number;
};
using queue = kedge::ready_queue<node>;

std::vector<int> drain(queue& q) {
  std::vector<int> order;
  while (!q.empty()) order.push_back(q.pop_front().number);
  return order;
}

TEST_CASE("nodes leave the queue in the order in which they entered it") {
  node a(1), b(2), c(3);
  queue q;
  CHECK(q.empty());
  for (node* n : {&b, &a, &c}) q.push_back(*n);
  CHECK(a.queued());
  CHECK(drain(q) == std::vector{2, 1, 3});
  CHECK_FALSE(a.queued());
}

TEST_CASE("a popped node can be queued again, and goes to the back") {
  node a(1), b(2);
  queue q;
  q.push_back(a);
  q.push_back(b);
  q.push_back(q.pop_front());
  CHECK(drain(q) == std::vector{2, 1});
}

TEST_CASE("a node leaves the queue from any position, by unlink() or by being destroyed") {
  queue q;
  std::vector<std::unique_ptr<node>> nodes;
  for (int i = 0; i < 5; ++i) {
    nodes.push_back(std::make_unique<node>(i));
    q.push_back(*nodes.back());
  }
  nodes[0].reset();
  nodes[2]->unlink();
  CHECK_FALSE(nodes[2]->queued());
  nodes[2]->unlink();  // no effect
  nodes[4].reset();
  CHECK(drain(q) == std::vector{1, 3});
}

TEST_CASE("a queue that is destroyed first leaves its nodes unlinked") {
  node a(1), b(2);
  {
    queue q;
    q.push_back(a);
    q.push_back(b);
  }
  CHECK_FALSE(a.queued());
  CHECK_FALSE(b.queued());
  queue other;
  other.push_back(b);
  CHECK(drain(other) == std::vector{2});
}

}  // namespace
