// <mach/vm_param.h>: the page size by its other names, and rounding to pages.
#pragma once

#include <stdint.h>

#include <mach/vm_page_size.h>

#define BYTE_SIZE 8

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

#define PAGE_SIZE_64 (unsigned long long)PAGE_SIZE
#define PAGE_MASK_64 (unsigned long long)PAGE_MASK

#define round_page_32(x) (((uint32_t)(x) + PAGE_MASK) & ~((uint32_t)PAGE_MASK))
#define trunc_page_32(x) ((uint32_t)(x) & ~((uint32_t)PAGE_MASK))
#define round_page_64(x) (((uint64_t)(x) + PAGE_MASK_64) & ~((uint64_t)PAGE_MASK_64))
#define trunc_page_64(x) ((uint64_t)(x) & ~((uint64_t)PAGE_MASK_64))
#define page_aligned(x) (((x) & PAGE_MASK) == 0)

// The largest piece of memory that one memory entry stands for.
#define ANON_MAX_PAGES 0xFFFFFFFFULL
#define ANON_MAX_SIZE (ANON_MAX_PAGES << PAGE_SHIFT)
