// use_clock_in_c(): calls the functions of extension.h that C has, in C99.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// Returns 0, or the number of the line that failed.
int use_clock_in_c(void);

#ifdef __cplusplus
}
#endif
