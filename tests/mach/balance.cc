// Runs a dialogue with a plan of faults, and compares what each task has before and after.
#include "balance.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <algorithm>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/snapshot.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/loop.h"
#include "mapped_memory.h"

namespace kedge::mach {
namespace {

const char* name_of(kernel::fault point) {
  constexpr const char* names[] = {
      "message_memory", "death_before",  "descriptor_memory", "array_memory", "sent_memory",
      "sent_right",     "full_queue",    "queue_ceiling",     "interruption", "death_during",
      "death_after",    "received_room", "received_memory",   "no_name",      "name_reuse",
      "port_memory",    "early_room",    "displaced_request"};
  return names[static_cast<std::uint32_t>(point)];
}

// The tasks of which a send has lost rights.
std::vector<kernel::task> lossy;

// What a task has: its names, and of its ports what others can change.
std::string balance_of(kernel::task of) {
  const kernel::snapshot all = kernel::take_snapshot();
  std::ostringstream text;
  text << std::hex;
  for (const kernel::snapshot::space& each : all.spaces) {
    if (each.owner != of) continue;
    for (const auto& right : each.rights) {
      text << "name " << right.name << " type " << right.type << " references " << right.references
           << (right.notify != 0 ? " requested\n" : "\n");
    }
  }
  for (const kernel::snapshot::port& each : all.ports) {
    if (each.receiver != of || each.name == MACH_PORT_NULL) continue;
    text << "port " << each.name << " sends " << each.send_rights << " send-onces "
         << each.send_once_rights << " queued " << each.queue.size() << " receivers "
         << each.waiting_receivers << " senders " << each.waiting_senders << " knotes "
         << each.knotes << (each.no_senders != 0 ? " no-senders" : "")
         << (each.port_destroyed != 0 ? " port-destroyed\n" : "\n");
  }
  return text.str();
}

// A failure of the kernel ends the coroutine, as it would end a request in a program.
task<> end_quietly(task<> body) {
  try {
    co_await std::move(body);
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

// A task of the kernel, with a loop in it.
class side {
 public:
  side() {
    const scoped_space inside(names);
    id_ = kernel::task_of_thread();
    runs.emplace();
    kernel::set_guard_behaviour(id_, kernel::guard_behaviour::record);
    before_ = balance_of(id_);
  }

  bool is_alive() const {
    const mach_port_t self = kernel::task_self_port(id_);
    if (!MACH_PORT_VALID(self)) return false;
    mach_port_deallocate(mach_task_self(), self);
    return true;
  }
  void check_all_ended() {
    std::ostringstream tree;
    runs->dump(tree);
    const std::string waits = runs->size() != 0 ? tree.str() : "";
    CHECK(waits == "");
  }
  void check_balance() {
    runs.reset();
    if (!is_alive()) return;
    for (const kernel::guard_exception& each : kernel::take_guard_exceptions(id_)) {
      CAPTURE(each.name);
      CHECK(each.code == 0);
    }
    const bool may_leak = std::find(lossy.begin(), lossy.end(), id_) != lossy.end();
    if (!may_leak) CHECK(balance_of(id_) == before_);
    const scoped_space inside(names);
    const receive_right port = receive_right::make();
    received arrived;
    std::size_t size = 0;
    CHECK(try_send(port.make_send(), message(1)).has_value());
    CHECK(try_receive(port.name(), size, arrived) == MACH_MSG_SUCCESS);
  }

  space names;
  std::optional<loop> runs;

 private:
  kernel::task id_;
  std::string before_;
};

void settle(side& one, side& other) {
  while (one.runs->poll() || other.runs->poll()) {
  }
}

kernel::fault_tally run(const dialogue& of, const kernel::fault_plan& plan) {
  lossy.clear();
  const std::string own = balance_of({});
  kernel::fault_tally tally;
  {
    side client, server;
    mach_port_name_t to_server = MACH_PORT_NULL;
    {
      const scoped_space inside(server.names);
      receive_right requests = receive_right::make(of.queue_limit);
      to_server = client.names.give(requests.make_send());
      server.runs->spawn(end_quietly(of.server(std::move(requests))));
    }
    {
      const scoped_space inside(client.names);
      client.runs->spawn(end_quietly(of.client(*client.runs, send_right::adopt(to_server))));
    }
    kernel::plan_faults(plan);
    settle(client, server);
    tally = kernel::end_faults();
    const std::string fault = tally.caused != 0 ? name_of(tally.last) : "none";
    CAPTURE(fault);
    // The library accounts for what such a failure has consumed (message_retention.h).
    if (tally.caused == 1 && tally.last == kernel::fault::array_memory) lossy.clear();
    client.check_all_ended();
    server.check_all_ended();
    client.check_balance();
    server.check_balance();
  }
  CHECK(balance_of({}) == own);
  return tally;
}

}  // namespace

void note(std::error_code error) noexcept {
  if (error == errc::rights_lost) lossy.push_back(kernel::task_of_thread());
}

int sweep_faults(const dialogue& of) {
  int caused = 0;
  for (const auto profile : {kernel::kernel_profile::macos11, kernel::kernel_profile::macos15}) {
    CAPTURE(static_cast<int>(profile));
    kernel::set_kernel_profile(profile);
    // Without a fault: fills the caches, and must pass some points.
    CHECK(run(of, {.points = of.points}).passed > 0);
    for (std::uint64_t nth = 1;; ++nth) {
      CAPTURE(nth);
      const std::uint64_t bytes = of.has_memory ? mapped_memory().bytes : 0;
      if (run(of, {.points = of.points, .nth = nth}).caused == 0) break;
      ++caused;
      if (of.has_memory && lossy.empty()) CHECK(mapped_memory().bytes < bytes + (1u << 20));
    }
  }
  kernel::set_kernel_profile(kernel::kernel_profile::macos15);
  return caused;
}

void draw_faults(const dialogue& of, std::uint64_t seed) {
  kernel::set_kernel_profile(seed % 2 == 0 ? kernel::kernel_profile::macos11
                                           : kernel::kernel_profile::macos15);
  run(of,
      {.points = of.points, .one_in = static_cast<std::uint32_t>(2 + seed / 2 % 16), .seed = seed});
  kernel::set_kernel_profile(kernel::kernel_profile::macos15);
}

}  // namespace kedge::mach
