// dispatcher: sends batches in turn, and sends those of a dead worker again.
#include "dispatcher.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "kedge/mach/died.h"
#include "kedge/mach/error.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"

namespace mach = kedge::mach;

mach::send_right dispatcher::make_answer_right() {
  peers_.emplace_back();
  peers_.back().answers = mach::receive_right::make();
  answers_.insert(peers_.back().answers);
  return peers_.back().answers.make_send();
}

void dispatcher::add_worker(mach::send_right requests) {
  peers_.back().requests = std::move(requests);
  ++living_;
}

kedge::task<> dispatcher::count(kedge::descriptor& input, std::size_t size, kill_plan& plan) {
  co_await kedge::with_scope(
      [this, &input, size, &plan](kedge::scope& s) { return count_with(s, input, size, plan); });
}

kedge::task<> dispatcher::count_with(kedge::scope& s, kedge::descriptor& input, std::size_t size,
                                     kill_plan& plan) {
  for (std::size_t i = 0; i < peers_.size(); ++i) s.spawn(take_over(i));
  co_await kedge::when_any(send_batches(input, size, plan), take_answers());
  co_await take_remaining_answers();
  // The deaths of the last victims may not have been reported yet.
  for (const std::size_t victim : plan.killed()) {
    (co_await mach::died(peers_[victim].requests)).value();
  }
  if (living_ == 0) throw all_workers_died();
  s.cancel();
}

kedge::task<> dispatcher::send_batches(kedge::descriptor& input, std::size_t size,
                                       kill_plan& plan) {
  for (bool in_word = false;;) {
    batch b{cut_, in_word, std::vector<std::byte>(size)};
    const auto n = co_await input.read_some(b.bytes);
    if (!n && n.error() == kedge::errc::end_of_file) break;
    b.bytes.resize(n.value());
    in_word = ends_in_word(b.bytes, in_word);
    ++cut_;
    co_await deliver(std::move(b));
    plan.sent(cut_);
  }
  plan.end_of_input();
}

kedge::task<> dispatcher::deliver(batch b) {
  peer& to = peers_[next_living()];
  const batch_header header{b.number, static_cast<std::uint32_t>(b.bytes.size()), b.in_word};
  mach::message m(batch_id, header, std::span<const std::byte>(b.bytes));
  // Recorded before the send: whatever happens to the message, it is answered or its worker dies.
  to.unanswered.push_back(std::move(b));
  ++tally_.sent;
  auto sent = mach::try_send(to.requests, std::move(m));
  if (!sent && sent.error().code() == mach::errc::queue_full) {
    ++tally_.waited;
    sent = co_await mach::send(to.requests, std::move(sent.error()).message());
  }
  if (!sent && sent.error().code() != mach::errc::peer_died) {
    throw std::system_error(sent.error().code(), "sending a batch");
  }
}

std::size_t dispatcher::next_living() {
  if (living_ == 0) throw all_workers_died();
  while (peers_[next_].dead) next_ = (next_ + 1) % peers_.size();
  return std::exchange(next_, (next_ + 1) % peers_.size());
}

kedge::task<> dispatcher::take_over(std::size_t i) {
  (co_await mach::died(peers_[i].requests)).value();
  peers_[i].dead = true;
  tally_.rows[i].died = true;
  --living_;
  std::deque<batch> left = std::exchange(peers_[i].unanswered, {});
  for (; !left.empty(); left.pop_front()) {
    ++tally_.sent_again;
    co_await deliver(std::move(left.front()));
  }
}

kedge::task<> dispatcher::take_answers() {
  for (;;) accept((co_await answers_.receive()).value());
}

kedge::task<> dispatcher::take_remaining_answers() {
  while (answered_ < cut_) accept((co_await answers_.receive()).value());
}

void dispatcher::accept(const mach::received& m) {
  const auto a = m.read<answer>();
  if (m.id() != answer_id || !a) return;
  ++tally_.received;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (!m.arrived_on(peers_[i].answers)) continue;
    if (!peers_[i].take(a->number)) {
      ++tally_.late;
      return;
    }
    ++answered_;
    ++tally_.rows[i].batches;
    tally_.rows[i].counted += a->counted;
  }
}

// Searches from the oldest batch, which the answer is nearly always for.
std::optional<batch> dispatcher::peer::take(std::uint64_t number) {
  const auto found = std::find_if(unanswered.begin(), unanswered.end(),
                                  [number](const batch& b) { return b.number == number; });
  if (found == unanswered.end()) return std::nullopt;
  std::optional<batch> taken(std::move(*found));
  unanswered.erase(found);
  return taken;
}
