// dispatcher: cuts the input into batches and has the workers count them.
//
// Batches go round the workers in turn. Back-pressure is the limit of their ports' queues, nothing
// else: a send that finds no room waits. A batch is kept until its answer has come, so at most
// those in one worker's queue, in its hands and in the queue of its answers are kept for it.
//
// A death is believed when the kernel tells of it, by the dead-name notification; a send that fails
// means nothing by itself. Then what that worker has left unanswered goes to the others. An answer
// of its own that arrives after that is not counted: the batch is counted once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <stdexcept>
#include <vector>

#include "batch.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/task.h"
#include "kill_plan.h"
#include "tally.h"

// No worker is left to count what is to be counted.
class all_workers_died : public std::runtime_error {
 public:
  all_workers_died() : std::runtime_error("all workers died: no totals") {}
};

class dispatcher {
 public:
  // Counts into t, which must outlive it. There is no worker yet.
  explicit dispatcher(tally& t) : tally_(t), answers_(kedge::mach::port_set::make()) {}

  // The right by which the next worker, number 0 first, shall answer; then the right to send to it.
  kedge::mach::send_right make_answer_right();
  void add_worker(kedge::mach::send_right requests);

  // Counts all of `input`, in batches of at most `size` bytes, killing workers by the plan. Throws
  // all_workers_died, and std::system_error if the input cannot be read.
  kedge::task<> count(kedge::descriptor& input, std::size_t size, kill_plan& plan);

 private:
  struct peer {
    kedge::mach::receive_right answers;
    kedge::mach::send_right requests;
    std::deque<batch> unanswered;
    bool dead = false;

    std::optional<batch> take(std::uint64_t number);
  };

  kedge::task<> count_with(kedge::scope& s, kedge::descriptor& input, std::size_t size,
                           kill_plan& plan);
  // Sends all of the input.
  kedge::task<> send_batches(kedge::descriptor& input, std::size_t size, kill_plan& plan);
  // Sends one to a worker not known to be dead.
  kedge::task<> deliver(batch b);
  std::size_t next_living();
  // Waits for the death of worker i, and has others do what it has left.
  kedge::task<> take_over(std::size_t i);
  // Takes answers for ever, or until everything is answered.
  kedge::task<> take_answers();
  kedge::task<> take_remaining_answers();
  void accept(const kedge::mach::received& m);

  tally& tally_;
  kedge::mach::port_set answers_;
  std::vector<peer> peers_;
  std::size_t next_ = 0;
  std::size_t living_ = 0;
  std::uint64_t cut_ = 0;       // batches so far
  std::uint64_t answered_ = 0;  // of these
};
