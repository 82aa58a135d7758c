#include <vector>

#include "benchmark.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"

namespace mach = kedge::mach;

namespace {

struct large_message {
  std::vector<mach::receive_right> ports;
  mach::received received;
  std::vector<mach::send_right> taken;
};

kedge::task<mach::received> pass(const std::vector<mach::receive_right>& ports) {
  const auto queue = mach::receive_right::make();
  mach::message m(1);
  for (const auto& each : ports) m.append(each.make_send());
  const mach::send_right to = queue.make_send();
  (co_await mach::send(to, std::move(m))).value();
  co_return (co_await queue.receive().at_most(mach::message::max_size)).value();
}

constexpr std::uint32_t first_name = 16;

void take_rights_here(std::uint64_t n) {
  static auto* const left = new std::vector<large_message*>;
  large_message& m = *left->emplace_back(new large_message);
  for (std::size_t i = 0; i < most_rights; ++i) m.ports.push_back(mach::receive_right::make());
  m.taken.reserve(most_rights);
  kedge::loop loop;
  m.received = loop.run(pass(m.ports));
  for (auto& each : m.received.descriptors()) {
    if (m.taken.size() == n) break;
    m.taken.push_back(each.take_send());
  }
}

}  // namespace

// Receives a message with a right to each of most_rights ports, and takes n of them. The rest stays
// in the message for ever. So two runs differ in the taking alone. Names in order, since those that
// the kernel draws lie elsewhere in the library's table each time, which varies the count.
void take_rights(std::uint64_t n) {
  const mach::kernel::task before =
      mach::kernel::set_current_task(mach::kernel::create_task(first_name));
  take_rights_here(n);
  mach::kernel::set_current_task(before);
}
