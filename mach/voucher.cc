// Implements voucher with host_create_mach_voucher().
#include "kedge/mach/voucher.h"

#include <mach/mach_host.h>
#include <mach/mach_voucher_types.h>

#include <cstring>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/port_reference.h"

namespace kedge::mach {

voucher voucher::make(std::span<const std::byte> recipe, const place& where) {
  std::vector<std::uint8_t> copy(recipe.size());  // the call takes no constant one
  if (!recipe.empty()) std::memcpy(copy.data(), recipe.data(), recipe.size());
  const port_reference host(mach_host_self());
  port_reference made;
  check(host_create_mach_voucher(host.name(), copy.data(),
                                 static_cast<mach_msg_type_number_t>(copy.size()), made.out()),
        "host_create_mach_voucher");
  return voucher(std::move(made).to_send_right(where));
}

voucher voucher::of_user_data(std::span<const std::byte> content, const place& where) {
  mach_voucher_attr_recipe_data_t step{};
  step.key = MACH_VOUCHER_ATTR_KEY_USER_DATA;
  step.command = MACH_VOUCHER_ATTR_USER_DATA_STORE;
  step.content_size = static_cast<mach_voucher_attr_content_size_t>(content.size());
  std::vector<std::byte> recipe(sizeof step + content.size());
  std::memcpy(recipe.data(), &step, sizeof step);
  if (!content.empty()) std::memcpy(recipe.data() + sizeof step, content.data(), content.size());
  return make(recipe, where);
}

}  // namespace kedge::mach
