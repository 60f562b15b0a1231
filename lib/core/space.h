/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Which MiBs of the file belong to a structure: one bit each. Two owners of one MiB are corruption:
 * one of them would show the other's data.
 */
#ifndef CORE_SPACE_H
#define CORE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/fail.h"

struct space {
    uint64_t size_mib; /* of the file, rounded up */
    uint64_t *owned;   /* owned memory; bit i of the map: MiB i */
};

/* file_size in bytes, at most LIMIT_FILE_SIZE. Address space only, until bits are set. */
int space_init(struct space *s, uint64_t file_size, struct vhdx_error *err);

void space_end(struct space *s);

/*
 * Claims the MiBs of [offset, offset + len), offset a multiple of 1 MiB. False, claiming nothing,
 * if one of them has an owner already. What lies past the end of the file is ignored: it holds
 * nothing.
 */
bool space_claim(struct space *s, uint64_t offset, uint64_t len);

/* Takes a claim back. */
void space_release(struct space *s, uint64_t offset, uint64_t len);

#endif
