// Implements abandon_task().
#include "kedge/mach/abandoned_task.h"

#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/reference_counts.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/space_notifications.h"

namespace kedge::mach {

void abandon_task(kernel::task ended) noexcept {
  const std::uint32_t space = space_incarnation_of(ended);
  space_notifications::forget(space);
  reference_counts::forget(space);
  ledger::forget(space);
}

}  // namespace kedge::mach
