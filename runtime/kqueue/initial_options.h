// initial_options(): the options of extension.h that a new kqueue has, from the environment
// variable KEDGE_KQUEUE_OPT_OUT: names of options, separated by commas. It is for programs that
// cannot be changed, so it has no names for opt_in().
#pragma once

namespace kedge::kqueue {

// Reads the variable in the first call of a process, and then writes at most one line to standard
// error, which names the values that are not options. A program with more rights than its user
// (secure_getenv(3)) has no such variable. Keeps errno. Any thread.
unsigned initial_options() noexcept;

}  // namespace kedge::kqueue
