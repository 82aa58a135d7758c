// service: what keyd.cc answers at its Mach port: the requests of its clients, and their watches.
//
//     const auto value = co_await mach::call<keyd::get>(keyd, "tide");
//
// A client that watches gets a `changed` for each change of each key, by try_send(): one that does
// not read misses changes, and makes nobody wait. The watch ends when the client's port has died.
// A key that is not there is KERN_NOT_IN_SET, a change that the journal refuses
// KERN_RESOURCE_SHORTAGE. Threads: the loop's thread only.
#pragma once

#include <mach/mach.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "kedge/mach/death_watch.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/text.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"
#include "tools/examples/keyd_store.h"

namespace keyd {

using key_text = kedge::mach::text<256>;
using value_text = kedge::mach::text<4096>;

struct get {
  static constexpr mach_msg_id_t id = 5400;
  key_text key;
  struct reply {
    value_text value;
  };
};
struct put {
  static constexpr mach_msg_id_t id = 5401;
  key_text key;
  value_text value;
  std::uint64_t seconds;  // 0: until it is removed
  struct reply {};
};
struct watch {
  static constexpr mach_msg_id_t id = 5402;
  kedge::mach::send_right to;
  struct reply {};
};
struct changed {
  static constexpr mach_msg_id_t id = 5403;
  key_text key;
};

class service {
 public:
  static constexpr std::size_t most_watches = 1000;

  service(kedge::loop& l, store& s) : loop_(l), store_(s), deaths_(l) {
    s.on_change = [this](const change& c) { tell(c); };
  }
  service(const service&) = delete;
  service& operator=(const service&) = delete;
  ~service() { store_.on_change = nullptr; }

  kedge::task<kedge::mach::serve_report> serve(const kedge::mach::receive_right& port,
                                               kedge::mach::serve_options options) {
    const auto find = [this](get& q) -> kedge::result<get::reply, kern_return_t> {
      const std::string* value = store_.find(std::string(q.key.view()), loop_.wall_now());
      if (value == nullptr) return kedge::unexpected(kern_return_t{KERN_NOT_IN_SET});
      // A client of the text protocol may have put what a text cannot hold.
      if (value->size() > value_text::max_size() || value->find('\0') != value->npos) {
        return kedge::unexpected(kern_return_t{KERN_INVALID_VALUE});
      }
      return get::reply{value_text(*value)};
    };
    const auto set = [this](put& q) -> kedge::task<kedge::result<put::reply, kern_return_t>> {
      change c{std::string(q.key.view()), std::string(q.value.view()), {}, false};
      if (q.seconds > most_seconds)
        co_return kedge::unexpected(kern_return_t{KERN_INVALID_ARGUMENT});
      if (q.seconds > 0) c.expiry = loop_.wall_now() + std::chrono::seconds(q.seconds);
      const auto made = co_await store_.make(std::move(c), loop_.wall_now());
      if (!made) co_return kedge::unexpected(kern_return_t{KERN_RESOURCE_SHORTAGE});
      co_return put::reply{};
    };
    const auto add = [this](watch& q) -> kedge::result<watch::reply, kern_return_t> {
      if (watches_.size() == most_watches) {
        return kedge::unexpected(kern_return_t{KERN_RESOURCE_SHORTAGE});
      }
      if (!deaths_.add(q.to, next_)) return kedge::unexpected(kern_return_t{KERN_INVALID_RIGHT});
      watches_.emplace(next_++, std::move(q.to));
      return watch::reply{};
    };
    co_return co_await kedge::mach::serve(port, options, find, set, add);
  }

  // Ends the watches of clients that have died. Does not end by itself.
  kedge::task<> release_the_dead() {
    for (;;) watches_.erase((co_await deaths_.next()).value());
  }

  std::size_t watches() const noexcept { return watches_.size(); }

  static constexpr std::uint64_t most_seconds = std::uint64_t{100} * 366 * 24 * 3600;

 private:
  void tell(const change& c) noexcept {
    if (c.key.size() > key_text::max_size() || c.key.find('\0') != c.key.npos) return;
    for (const auto& [number, to] : watches_) {
      try {
        if (!kedge::mach::try_send<changed>(to, c.key)) ++missed_;
      } catch (...) {
        ++missed_;  // no memory for a message
      }
    }
  }

  kedge::loop& loop_;
  store& store_;
  kedge::mach::death_watch<int> deaths_;
  std::map<int, kedge::mach::send_right> watches_;
  std::uint64_t missed_ = 0;
  int next_ = 0;
};

}  // namespace keyd
