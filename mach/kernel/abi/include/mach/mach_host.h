// What the host port is asked for.
#pragma once

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/mach_voucher_types.h>
#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

// Makes a voucher, of which the caller gets a send right; from no recipe, MACH_VOUCHER_NULL. Here
// the content is opaque: recipes must be well-formed, and each call makes a voucher that is like no
// other. `recipesCnt` is in bytes.
//
// MACH_SEND_INVALID_DEST (no host port), MIG_ARRAY_TOO_LARGE (more than
// MACH_VOUCHER_ATTR_MAX_RAW_RECIPE_ARRAY_SIZE), KERN_MEMORY_ERROR (recipes cannot be read),
// KERN_INVALID_CAPABILITY (previous_voucher is none; MACH_VOUCHER_ATTR_SET_VALUE_HANDLE),
// KERN_INVALID_ARGUMENT.
kern_return_t host_create_mach_voucher(host_t host, mach_voucher_attr_raw_recipe_array_t recipes,
                                       mach_msg_type_number_t recipesCnt, ipc_voucher_t* voucher);

#ifdef __cplusplus
}
#endif
