/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Zero test; see iszero.h. If the first 16 bytes are zero and the buffer equals itself moved by 16,
 * all of it is zero: memcmp is the fastest loop the C library has on every machine.
 */

#include "util/iszero.h"

#include <string.h>

bool is_zero(const void *buf, size_t len)
{
    const unsigned char *p = buf;

    for (size_t i = 0; i < 16 && i < len; i++)
        if (p[i] != 0)
            return false;
    return len <= 16 || memcmp(p, p + 16, len - 16) == 0;
}

bool next_nonzero(const void *buf, size_t len, uint64_t offset, uint32_t grain, size_t *ret_start,
               size_t *end)
{
    const unsigned char *p = buf;
    bool is_found = false;
    size_t at = *end;

    for (size_t n; at < len; at += n) {
        n = (size_t)(grain - (offset + at) % grain);
        n = n < len - at ? n : len - at;
        bool is_data = !is_zero(p + at, n);
        if (is_found && !is_data)
            break;
        if (is_data && !is_found)
            *ret_start = at;
        is_found |= is_data;
    }
    *end = at;
    return is_found;
}
