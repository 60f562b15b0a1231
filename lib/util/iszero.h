/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Is a buffer all zeros? At memory speed, and at once when it is not. */
#ifndef UTIL_ISZERO_H
#define UTIL_ISZERO_H

#include <stdbool.h>
#include <stddef.h>

bool is_zero(const void *buf, size_t len);

#endif
