// sigpipe_guard: keeps a call of write(2) or sendfile(2) from raising SIGPIPE. The header that this
// includes has its contract.
#pragma once

#include "kedge/runtime/base/sigpipe_guard.h"

namespace kedge::net {

using base::sigpipe_guard;

}  // namespace kedge::net
