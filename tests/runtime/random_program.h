// random_program: a program of tasks that a seed makes, as data; and its run, held against rules.
//
// A program is a tree of steps: sleeps, waits for a permit, failures, cancellations, channels,
// locks, scopes, time-outs, combinators, generators, clean-ups, and guards whose destructors give,
// cancel and spawn. A run notes what
// each construct has done, and checks what must follow. It is as deterministic as the loop, since
// time is virtual: two runs of one program leave the same trace.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace kedge {

struct program_step {
  enum class kind : unsigned char {
    yield,
    sleep,         // `amount` us
    take,          // waits for a permit
    give,          // gives a permit
    fail,          // throws
    cancel,        // the `amount`-th scope around it
    send,          // an item to channel `amount`
    receive,       // an item of channel `amount`
    select,        // receives from one of two channels, or sleeps
    spawn,         // parts[0] as a child of the `amount`-th scope around it
    scope,         // parts[0] is the body, the others are children
    timeout,       // parts[0], for `amount` us
    deadline,      // parts[0], until `amount` us from now
    all,           // parts
    any,           // parts
    attempt,       // parts[0]
    shield,        // parts[0]
    call,          // parts[0], in a task of its own
    lock,          // parts[0], with the mutex
    acquire,       // parts[0], with 1 + `amount` permits of the semaphore
    generate,      // each part, in a generator that gives a value after it
    cleanup,       // parts[0], then parts[1], for `amount` us at most
    at_exit_give,  // when the block ends
    at_exit_cancel,
    at_exit_spawn,
  };
  using block = std::vector<program_step>;

  explicit program_step(kind k) : what(k) {}

  kind what;
  unsigned amount = 0;
  std::vector<block> parts;
};

struct program {
  program() {}

  program_step::block root;
  enum class end : unsigned char { run, cancelled, dropped } how = end::run;
  unsigned turns = 0;  // after which the loop is cancelled or destroyed
};

program make_program(std::uint32_t seed);

// Runs the program. Returns the first rule that the run broke, or an empty string. Appends what
// happened to `trace`.
std::string run_program(const program& p, std::vector<int>& trace);

// Removes steps as long as `fails` says that the program still fails.
program shrink(program p, bool (*fails)(const program&));

std::string to_string(const program& p);

}  // namespace kedge
