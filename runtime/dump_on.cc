// dump_on: waits for the signal, prints, and waits again.
#include "kedge/runtime/dump_on.h"

#include <ostream>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/signal_set.h"

namespace kedge {

task<> dump_on(int signal, std::ostream& out) {
  loop& self = *loop::current();
  signal_set asked(self, {signal});
  while (co_await asked.next()) {
    self.dump(out);
    out.flush();
  }
}

}  // namespace kedge
