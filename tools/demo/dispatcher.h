// dispatcher: cuts the input into batches and has the workers count them.
//
// The workers receive batches in turn. The only back-pressure is the limit of their ports' queues:
// a send to a full queue waits. A batch is kept until its answer has arrived, so for each worker
// the dispatcher keeps at most the batches in the worker's queue, in its hands and in the queue of
// its answers.
//
// The dispatcher considers a worker dead when the kernel's dead-name notification reports it; a
// failed send alone means nothing. Then it sends the worker's unanswered batches to the others. An
// answer of the dead worker that arrives after that is not counted: each batch is counted once.
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

// The workers died before the whole input was counted.
class all_workers_died : public std::runtime_error {
 public:
  all_workers_died() : std::runtime_error("all workers died: no totals") {}
};

class dispatcher {
 public:
  // Counts into `t`, which must outlive the dispatcher. Starts without a worker.
  explicit dispatcher(tally& t) : tally_(t), answers_(kedge::mach::port_set::make()) {}

  // Add the next worker: the first call returns the right for its answers, the second takes the
  // right for requests to it.
  kedge::mach::send_right make_answer_right();
  void add_worker(kedge::mach::send_right requests);

  // Counts all of `input`, in batches of at most `size` bytes, while `plan` kills workers. Throws
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
  // Sends the whole input.
  kedge::task<> send_batches(kedge::descriptor& input, std::size_t size, kill_plan& plan);
  // Sends one batch to the next worker that is not known to be dead.
  kedge::task<> deliver(batch b);
  std::size_t next_living();
  // Waits for the death of worker i, and sends its unanswered batches to others.
  kedge::task<> take_over(std::size_t i);
  // Take answers: for ever, and until all batches are answered.
  kedge::task<> take_answers();
  kedge::task<> take_remaining_answers();
  void accept(const kedge::mach::received& m);

  tally& tally_;
  kedge::mach::port_set answers_;
  std::vector<peer> peers_;
  std::size_t next_ = 0;
  std::size_t living_ = 0;
  std::uint64_t cut_ = 0;       // batches cut from the input so far
  std::uint64_t answered_ = 0;  // how many of them are answered
};
