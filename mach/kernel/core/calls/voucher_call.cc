// host_create_mach_voucher (Darwin: ipc_voucher.c).
#include "kedge/mach/kernel/core/calls/voucher_call.h"

#include <mach/mach_voucher_types.h>
#include <mach/mig_errors.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

using recipe = mach_voucher_attr_recipe_data_t;

// What Darwin checks of a command before it asks the key's manager (Darwin:
// ipc_execute_voucher_recipe_command). There are no managers here: they always agree.
kern_return_t check_command(const recipe& step) noexcept {
  constexpr std::uint32_t keys = MACH_VOUCHER_ATTR_KEY_NUM_WELL_KNOWN;
  const bool one_key = step.key > MACH_VOUCHER_ATTR_KEY_NONE && step.key <= keys;
  const bool all_keys = step.key == MACH_VOUCHER_ATTR_KEY_ALL;
  switch (step.command) {
    case MACH_VOUCHER_ATTR_COPY:
    case MACH_VOUCHER_ATTR_REMOVE:
      return step.content_size == 0 && (one_key || all_keys) ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
    case MACH_VOUCHER_ATTR_SET_VALUE_HANDLE:
      return KERN_INVALID_CAPABILITY;
    case MACH_VOUCHER_ATTR_REDEEM:
      return one_key || all_keys ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
    default:
      return one_key ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
  }
}

}  // namespace

bool voucher_call::is_send_right_to(mach_port_name_t name, kernel_object kind) const noexcept {
  const std::lock_guard hold(caller_.names.lock);
  port* found = nullptr;
  return find_send_right(caller_.names, name, found) == KERN_SUCCESS && found->serves == kind;
}

kern_return_t voucher_call::check(const std::vector<std::byte>& recipes) const noexcept {
  std::size_t at = 0;
  while (at < recipes.size()) {
    recipe step;
    if (recipes.size() - at < sizeof step) return KERN_INVALID_ARGUMENT;
    std::memcpy(&step, recipes.data() + at, sizeof step);
    at += sizeof step;
    if (recipes.size() - at < step.content_size) return KERN_INVALID_ARGUMENT;
    at += step.content_size;
    if (step.previous_voucher != MACH_PORT_NULL &&
        !is_send_right_to(step.previous_voucher, kernel_object::voucher)) {
      return KERN_INVALID_CAPABILITY;
    }
    if (const kern_return_t failed = check_command(step); failed != KERN_SUCCESS) return failed;
  }
  return KERN_SUCCESS;
}

kern_return_t voucher_call::create(const requests::voucher_create& request,
                                   replies::voucher_create& reply) {
  if (!is_send_right_to(request.host, kernel_object::host)) return MACH_SEND_INVALID_DEST;
  const user_buffer& from = request.recipes;
  if (from.size > MACH_VOUCHER_ATTR_MAX_RAW_RECIPE_ARRAY_SIZE) return MIG_ARRAY_TOO_LARGE;
  if (from.size == 0) return KERN_SUCCESS;  // the voucher without content is MACH_PORT_NULL
  std::vector<std::byte> recipes(from.size);
  if (!memory_.in_checked(from.at, recipes.data(), recipes.size())) return KERN_MEMORY_ERROR;
  if (const kern_return_t failed = check(recipes); failed != KERN_SUCCESS) return failed;
  const auto made = ref<port>::adopt(new port(kernel_object::voucher, 0));
  return cleanup_.owner.name_send_right(caller_, *made, reply.name);
}

}  // namespace kedge::mach::kernel
