/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Is a buffer all zeros, or where is it not? At memory speed, and at once when it is not. */
#ifndef UTIL_ISZERO_H
#define UTIL_ISZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool is_zero(const void *buf, size_t len);

/*
 * The next run of grains that are not all zeros, [*ret_start, *end) of the buffer, from *end on,
 * which is 0 at first. The buffer lies at offset, and grains begin at multiples of grain there; the
 * first and the last one of the buffer may be cut. False: only zeros are left.
 */
bool next_nonzero(const void *buf, size_t len, uint64_t offset, uint32_t grain, size_t *ret_start,
               size_t *end);

#endif
