// <mach/mach_error.h>: error codes as text.
#pragma once

#include <mach/error.h>

#ifdef __cplusplus
extern "C" {
#endif

// Returns the text of a code. Never null, unlike Apple's for systems without codes. The string is
// static.
char* mach_error_string(mach_error_t error_value);

// Returns the subsystem of a code, for example "(os/kern)". The string is static.
char* mach_error_type(mach_error_t error_value);

// Writes "<str> <text>" to standard error, and for a code without a text also its type and number.
void mach_error(const char* str, mach_error_t error_value);

#ifdef __cplusplus
}
#endif
