// <mach/error.h>: the parts of an error code: system, subsystem, code.
#pragma once

#include <mach/kern_return.h>

typedef kern_return_t mach_error_t;

#define err_none ((mach_error_t)0)
#define ERR_SUCCESS ((mach_error_t)0)
#define err_get_system(err) (((err) >> 26) & 0x3f)
#define err_get_sub(err) (((err) >> 14) & 0xfff)
#define err_get_code(err) ((err) & 0x3fff)
