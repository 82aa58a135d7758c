// <mach/mach_host.h>: calls on the host port.
#pragma once

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/mach_voucher_types.h>
#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

// Gives a send right to a clock, SYSTEM_CLOCK or CALENDAR_CLOCK. KERN_INVALID_ARGUMENT: no such
// clock, or not the host port. MACH_SEND_INVALID_DEST: not a send right.
kern_return_t host_get_clock_service(host_t host, clock_id_t clock_id, clock_serv_t* clock_serv);

// Makes a voucher and gives the caller a send right to it; MACH_VOUCHER_NULL if there are no
// recipes. `recipesCnt` is in bytes. The content is opaque here: recipes must be well-formed, and
// no two calls make equal vouchers.
//
// MACH_SEND_INVALID_DEST: not the host port. MIG_ARRAY_TOO_LARGE: more than
// MACH_VOUCHER_ATTR_MAX_RAW_RECIPE_ARRAY_SIZE bytes. KERN_MEMORY_ERROR: the recipes cannot be read.
// KERN_INVALID_CAPABILITY: previous_voucher is not a voucher, or the command is
// MACH_VOUCHER_ATTR_SET_VALUE_HANDLE. KERN_INVALID_ARGUMENT: a recipe is malformed.
kern_return_t host_create_mach_voucher(host_t host, mach_voucher_attr_raw_recipe_array_t recipes,
                                       mach_msg_type_number_t recipesCnt, ipc_voucher_t* voucher);

#ifdef __cplusplus
}
#endif
