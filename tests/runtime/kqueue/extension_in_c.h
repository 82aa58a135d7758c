// use_extension_in_c(): calls every function of extension.h in C99.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// Returns 0, or the number of the line that found something else than `is_supported` demands.
int use_extension_in_c(int is_supported);

#ifdef __cplusplus
}
#endif
