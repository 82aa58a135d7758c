// Error codes in words.
#pragma once

#include <mach/error.h>

#ifdef __cplusplus
extern "C" {
#endif

// Never null; the string lives as long as the program.
char* mach_error_string(mach_error_t error_value);

// "<str> <words> (<code>)" on standard error.
void mach_error(const char* str, mach_error_t error_value);

#ifdef __cplusplus
}
#endif
