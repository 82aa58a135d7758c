// <mach/vm_param.h>: the page size by its other names.
#pragma once

#include <mach/vm_page_size.h>

#define BYTE_SIZE 8

// <sys/user.h> of Linux has these names with other meanings. Do not include both.
#define PAGE_SHIFT vm_page_shift
#define PAGE_SIZE vm_page_size
#define PAGE_MASK vm_page_mask

// The page sizes that any system of this architecture may have.
#define PAGE_MAX_SHIFT 14
#define PAGE_MAX_SIZE (1 << PAGE_MAX_SHIFT)
#define PAGE_MAX_MASK (PAGE_MAX_SIZE - 1)
#define PAGE_MIN_SHIFT 12
#define PAGE_MIN_SIZE (1 << PAGE_MIN_SHIFT)
#define PAGE_MIN_MASK (PAGE_MIN_SIZE - 1)
