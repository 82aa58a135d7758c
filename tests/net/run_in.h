// run_in: runs a coroutine closure on a loop.
#pragma once

#include "kedge/runtime/loop.h"

namespace kedge::net {

// The closure lives as long as its coroutine.
template <class Body>
void run_in(loop& l, const Body& body) {
  l.run(body());
}

}  // namespace kedge::net
