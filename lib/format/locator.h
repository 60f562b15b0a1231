/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The parent locator: how a differencing image names its parent. [MS-VHDX] 2.6.2.6 */
#ifndef FORMAT_LOCATOR_H
#define FORMAT_LOCATOR_H

#include <stdbool.h>

#include "format/ondisk.h"
#include "util/limits.h"
#include "util/fail.h"

/* One pair: UTF-16LE text inside the item, units are code units. */
struct locator_pair {
    const uint8_t *key, *value;
    uint16_t key_units, value_units;
};

struct locator {
    uint32_t count;
    struct locator_pair pairs[LIMIT_LOCATOR_KEYS]; /* point into the item */
};

/*
 * Verifies and decodes the item (length bytes at buf, which stood at file offset at): the VHDX
 * type, every pair inside the item, keys unique, parent_linkage and at least one path there. The
 * pairs borrow buf.
 */
int locator_decode(const uint8_t *buf, uint32_t length, uint64_t at,
                   const struct problem_sink *sink, struct locator *ret, struct vhdx_error *err);

/* Is the key of p the ASCII string key? */
bool locator_key_is(const struct locator_pair *p, const char *key);

/*
 * Writes a VHDX locator of count pairs of UTF-8 text to ret, which holds size bytes, and returns
 * its length; 0 if it does not fit or a text is not UTF-8.
 */
uint32_t locator_encode(const struct vhdx_key_value *pairs, uint16_t count, uint8_t *ret,
                        size_t size);

#endif
