#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "counted_new.h"
#include "kedge/runtime/reactor/timer.h"

namespace kedge {

// Makes a heap forget how many timers were armed, as if `count` more had been.
struct timer_order {
  static void advance(timer_heap& heap, std::uint32_t count) noexcept { heap.next_order_ += count; }
};

}  // namespace kedge

namespace {

using kedge::clock;
using kedge::timer_heap;

clock::time_point at(long n) {
  return clock::time_point(std::chrono::nanoseconds(n));
}

class recorder final : public kedge::timer {
 public:
  recorder(std::vector<int>& order, int number) : order_(order), number_(number) {}
  std::function<void()> on_expiry;

 private:
  void expire() noexcept override {
    CHECK_FALSE(armed());
    order_.push_back(number_);
    if (on_expiry) on_expiry();
  }
  std::vector<int>& order_;
  int number_;
};

TEST_CASE("timers expire by deadline, those with the same deadline in the order of their arming") {
  std::vector<int> order;
  timer_heap heap;
  recorder a(order, 1), b(order, 2), c(order, 3), d(order, 4), e(order, 5);
  heap.arm(c, at(20));
  heap.arm(a, at(10));
  heap.arm(b, at(10));
  heap.arm(e, at(30));
  heap.arm(d, at(20));
  CHECK(heap.earliest() == at(10));
  heap.expire(at(9));
  CHECK(order.empty());
  heap.expire(at(20));
  CHECK(order == std::vector{1, 2, 3, 4});
  CHECK(heap.size() == 1);
  CHECK(e.armed());
  heap.expire(at(30));
  CHECK(order.back() == 5);
  CHECK(heap.empty());
}

TEST_CASE("a timer that was armed 2^31 timers ago expires, and those behind it") {
  for (const std::uint32_t armed : {0x7fffffffu, 0x80000000u, 0x80000001u, 0xfffffff0u}) {
    CAPTURE(armed);
    std::vector<int> order;
    timer_heap heap;
    recorder old(order, 1), fresh(order, 2);
    heap.arm(old, at(1));
    kedge::timer_order::advance(heap, armed);
    heap.arm(fresh, at(2));
    heap.expire(at(5));
    CHECK(order == std::vector{1, 2});
  }
}

TEST_CASE(
    "a thousand timers with two deadlines stay in order while others between them are disarmed") {
  std::vector<int> order;
  timer_heap heap;
  std::vector<std::unique_ptr<recorder>> timers;
  for (int i = 0; i < 1000; ++i) {
    timers.push_back(std::make_unique<recorder>(order, i));
    heap.arm(*timers.back(), at(i % 2));
  }
  for (std::size_t i = 0; i < 1000; i += 3) timers[i].reset();
  heap.expire(at(1));
  std::vector<int> expected;
  for (const int parity : {0, 1}) {
    for (int i = parity; i < 1000; i += 2) {
      if (i % 3 != 0) expected.push_back(i);
    }
  }
  CHECK(order == expected);
}

TEST_CASE("an expiring timer may disarm and destroy timers that are due") {
  std::vector<int> order;
  timer_heap heap;
  recorder a(order, 1), b(order, 2);
  auto c = std::make_unique<recorder>(order, 3);
  recorder d(order, 4);
  heap.arm(a, at(1));
  heap.arm(b, at(2));
  heap.arm(*c, at(3));
  heap.arm(d, at(4));
  a.on_expiry = [&] {
    b.disarm();
    c.reset();
  };
  heap.expire(at(10));
  CHECK(order == std::vector{1, 4});
}

TEST_CASE("a timer armed while others expire waits for the next time, however early it is") {
  std::vector<int> order;
  timer_heap heap;
  recorder a(order, 1), b(order, 2), c(order, 3);
  heap.arm(a, at(5));
  heap.arm(b, at(6));
  a.on_expiry = [&] { heap.arm(a, at(7)); };
  b.on_expiry = [&] { heap.arm(c, at(50)); };
  heap.expire(at(10));
  CHECK(order == std::vector{1, 2});
  CHECK(a.armed());
  a.on_expiry = nullptr;
  heap.expire(at(10));
  CHECK(order == std::vector{1, 2, 1});
  CHECK(heap.earliest() == at(50));
}

TEST_CASE(
    "a timer that arms itself for the past ends the call, and due timers behind it expire in the "
    "next") {
  std::vector<int> order;
  timer_heap heap;
  recorder a(order, 1), b(order, 2);
  heap.arm(a, at(5));
  heap.arm(b, at(6));
  a.on_expiry = [&] { heap.arm(a, at(5)); };
  heap.expire(at(10));
  a.on_expiry = nullptr;
  heap.expire(at(10));
  CHECK(order == std::vector{1, 1, 2});
}

TEST_CASE("a timer outlives its heap disarmed, and can be armed in another one") {
  std::vector<int> order;
  recorder a(order, 1);
  {
    timer_heap heap;
    heap.arm(a, at(1));
  }
  CHECK_FALSE(a.armed());
  timer_heap other;
  other.arm(a, at(2));
  other.expire(at(2));
  CHECK(order == std::vector{1});
}

TEST_CASE("random arming, disarming and expiring agrees with an ordered set after every step") {
  std::mt19937 random(20261122);
  std::vector<int> order;
  timer_heap heap;
  constexpr std::size_t count = 500;
  std::vector<std::unique_ptr<recorder>> timers;
  for (std::size_t i = 0; i < count; ++i) {
    timers.push_back(std::make_unique<recorder>(order, static_cast<int>(i)));
  }
  std::set<std::pair<std::pair<long, long>, int>> model;  // ((deadline, order), number)
  std::vector<std::pair<long, long>> key(count);
  long armed = 0;
  long now = 0;
  for (int step = 0; step < 50'000; ++step) {
    CAPTURE(step);
    const std::size_t i = random() % count;
    const int number = static_cast<int>(i);
    switch (random() % 8) {
      case 0: {
        now += static_cast<long>(random() % 40);
        order.clear();
        heap.expire(at(now));
        std::vector<int> expected;
        while (!model.empty() && model.begin()->first.first <= now) {
          expected.push_back(model.begin()->second);
          model.erase(model.begin());
        }
        REQUIRE(order == expected);
        break;
      }
      case 1:
      case 2:
        timers[i]->disarm();
        model.erase({key[i], number});
        break;
      default:
        if (timers[i]->armed()) {
          timers[i]->disarm();
          model.erase({key[i], number});
        }
        key[i] = {now + static_cast<long>(random() % 200), armed++};
        heap.arm(*timers[i], at(key[i].first));
        model.insert({key[i], number});
    }
    REQUIRE(heap.size() == model.size());
    if (!model.empty()) REQUIRE(heap.earliest() == at(model.begin()->first.first));
  }
}

TEST_CASE("100,000 timers of random deadlines expire in the order of deadline and arming") {
  std::mt19937 random(7);
  std::vector<int> order;
  timer_heap heap;
  std::vector<std::unique_ptr<recorder>> timers;
  std::vector<std::pair<long, int>> expected;
  for (int i = 0; i < 100'000; ++i) {
    timers.push_back(std::make_unique<recorder>(order, i));
    const long deadline = static_cast<long>(random() % 10'000);
    heap.arm(*timers.back(), at(deadline));
    expected.emplace_back(deadline, i);
  }
  std::sort(expected.begin(), expected.end());
  heap.expire(at(10'000));
  REQUIRE(order.size() == expected.size());
  bool same = true;
  for (std::size_t i = 0; i < order.size(); ++i) same &= order[i] == expected[i].second;
  CHECK(same);
}

// A heap and an ordered set of ((deadline, order), number), which are changed together, also by
// timers that expire.
class modelled {
 public:
  explicit modelled(std::size_t count) : keys_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      timers_.push_back(std::make_unique<recorder>(order_, static_cast<int>(i)));
      timers_.back()->on_expiry = [this, i] { expired(i); };
    }
  }
  void change_any(long nearest, long farthest) {
    const std::size_t i = random_() % timers_.size();
    timers_[i]->disarm();
    model_.erase({keys_[i], i});
    if (random_() % 4 == 0) return;
    keys_[i] = {now_ + nearest + static_cast<long>(random_()) % (farthest - nearest), armed_++};
    heap_.arm(*timers_[i], at(keys_[i].first));
    model_.insert({keys_[i], i});
  }
  void expire_after(long d) {
    now_ += d;
    const long armed_before = armed_;
    heap_.expire(at(now_));
    if (model_.empty()) return;
    const auto [deadline, order] = model_.begin()->first;
    REQUIRE((deadline > now_ || order >= armed_before));
  }
  void check() const {
    REQUIRE(heap_.size() == model_.size());
    if (!model_.empty()) REQUIRE(heap_.earliest() == at(model_.begin()->first.first));
  }
  int changes_per_expiry = 0;

 private:
  void expired(std::size_t i) {
    REQUIRE_FALSE(model_.empty());
    REQUIRE(model_.begin()->second == i);
    model_.erase(model_.begin());
    check();
    for (int n = 0; n < changes_per_expiry; ++n) change_any(-20, 2000);
    check();
  }

  std::mt19937 random_{20261130};
  std::vector<int> order_;
  timer_heap heap_;
  std::vector<std::unique_ptr<recorder>> timers_;
  std::vector<std::pair<long, long>> keys_;
  std::set<std::pair<std::pair<long, long>, std::size_t>> model_;
  long armed_ = 0;
  long now_ = 0;
};

TEST_CASE("timers that arm and disarm others while many expire agree with an ordered set") {
  for (const int changes : {0, 1, 3}) {
    CAPTURE(changes);
    modelled m(2000);
    m.changes_per_expiry = changes;
    for (int round = 0; round < 300; ++round) {
      CAPTURE(round);
      // Few and many changes, so that the pile is looked through, and put into the heap.
      for (int i = 0; i < (round % 3 == 0 ? 10 : 1500); ++i) m.change_any(-20, 2000);
      m.check();
      m.expire_after(round % 7 == 0 ? 1500 : 30);
      m.check();
    }
  }
}

TEST_CASE("arming as many timers as before allocates nothing, however they ended") {
  std::vector<int> order;
  order.reserve(10'000);
  timer_heap heap;
  std::vector<std::unique_ptr<recorder>> timers;
  for (int i = 0; i < 1000; ++i) timers.push_back(std::make_unique<recorder>(order, i));
  const auto arm_all = [&](long first) {
    for (std::size_t i = 0; i < timers.size(); ++i) {
      timers[i]->disarm();
      heap.arm(*timers[i], at(first + static_cast<long>(i * 7919 % 1000)));
    }
  };
  for (int i = 0; i < 5; ++i) arm_all(0);
  heap.expire(at(1000));
  const long before = kedge::allocated;
  for (int i = 0; i < 5; ++i) arm_all(2000);
  heap.expire(at(2500));
  heap.expire(at(3000));
  CHECK(heap.empty());
  CHECK(kedge::allocated == before);
}

struct rearming_timer final : kedge::timer {
  kedge::timer_heap* heap = nullptr;
  void expire() noexcept override {
    heap->arm(*this, kedge::clock::time_point(std::chrono::hours(1)));
  }
};

TEST_CASE("timers that arm themselves again in one expire() allocate nothing") {
  const auto at = [](int n) { return kedge::clock::time_point(std::chrono::nanoseconds(n)); };
  kedge::timer_heap heap;
  std::vector<rearming_timer> timers(1024);
  for (int i = 0; i < 1024; ++i) {
    timers[static_cast<std::size_t>(i)].heap = &heap;
    heap.arm(timers[static_cast<std::size_t>(i)], at(i < 64 ? 2 * i : 2 * (i - 64) + 1));
  }
  const long before = kedge::allocated;
  heap.expire(at(10'000));
  CHECK(kedge::allocated == before);
  CHECK(heap.expired() == 1024);
}

}  // namespace
