// pass_memory: a client sends memory, text and rights to a front, which passes the request on.
//
// The front never sees the answer: it hands the client's reply right to a worker, and the memory
// with it, which no step copies. The worker tells every watcher in an array of rights, and answers.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

constexpr mach_msg_id_t count_id = 1, count_done_id = 2;

kedge::task<> front(mach::receive_right requests, mach::send_right worker) {
  mach::received request = (co_await requests.receive()).value();
  mach::message passed(count_id, request.bytes(), request.take_memory(0),
                       request.take_send_array(1));
  passed.reply_to(request.take_reply());
  const auto sent = co_await mach::send(worker, std::move(passed));
  if (!sent) std::printf("front: %s\n", sent.error().code().message().c_str());
}

kedge::task<> work(mach::receive_right requests) {
  mach::received request = (co_await requests.receive()).value();
  // The client may be hostile: a reader never leaves the message.
  mach::message_reader parts = request.reader();
  const std::optional<char> letter = parts.read<char>();
  const std::optional<std::string_view> name = parts.text();
  if (!name) co_return;
  const mach::memory_region text = request.take_memory(0);
  const auto bytes = text.bytes();
  const auto count = static_cast<std::uint64_t>(
      std::count(bytes.begin(), bytes.end(), static_cast<std::byte>(*letter)));
  for (const mach::send_right& watcher : request.take_send_array(1)) {
    (void)mach::try_send(watcher, mach::message(count_done_id, mach::counted(*name)));
  }
  mach::reply(request, mach::message(count_done_id, count));
}

kedge::task<> ask(mach::send_right service) {
  const auto done = mach::receive_right::make();
  auto text = mach::memory_region::make(16 << 20);
  std::fill(text.bytes().begin(), text.bytes().begin() + 1000, std::byte{'k'});
  mach::message request(count_id, 'k', mach::counted("kedge"), std::move(text));
  request.append(std::vector<mach::send_right>(2, done.make_send()));
  const auto answer = (co_await mach::call(service, std::move(request))).value();
  std::printf("%llu of 16 MiB\n", (unsigned long long)answer.read<std::uint64_t>().value_or(0));
  for (int i = 0; i < 2; ++i) {
    const mach::received note = (co_await done.receive()).value();
    const std::string_view name = note.reader().text().value_or("nobody");
    std::printf("watcher %d: %.*s is done\n", i, int(name.size()), name.data());
  }
}

int main() {
  kedge::loop loop;
  auto requests = mach::receive_right::make(), work_queue = mach::receive_right::make();
  const mach::send_right service = requests.make_send();
  loop.spawn(front(std::move(requests), work_queue.make_send()));
  loop.spawn(work(std::move(work_queue)));
  loop.run(ask(service));
}
