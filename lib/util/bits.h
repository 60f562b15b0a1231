/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Powers of two and checked arithmetic. Sizes in VHDX are powers of two; numbers from a file are
 * added and multiplied only through the checked forms.
 */
#ifndef UTIL_BITS_H
#define UTIL_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline bool is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* x must be a power of two. */
static inline uint32_t log2_exact(uint64_t x)
{
    return (uint32_t)__builtin_ctzll(x);
}

/* a, here and below, must be a power of two. */
static inline bool is_aligned(uint64_t x, uint64_t a)
{
    return (x & (a - 1)) == 0;
}

static inline uint64_t align_down(uint64_t x, uint64_t a)
{
    return x & ~(a - 1);
}

/* The caller knows that x + a - 1 does not overflow. */
static inline uint64_t align_up(uint64_t x, uint64_t a)
{
    return align_down(x + a - 1, a);
}

static inline uint64_t div_ceil(uint64_t x, uint64_t y)
{
    return x / y + (x % y != 0);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Is [offset, offset + len) inside [0, size)? */
static inline bool range_fits(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

/* Do [a, a + a_len) and [b, b + b_len) share a byte? Neither may wrap past 2^64. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a_len != 0 && b_len != 0 && a < b + b_len && b < a + a_len;
}

#endif
