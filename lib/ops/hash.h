/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The digest of the virtual disk. */
#ifndef OPS_HASH_H
#define OPS_HASH_H

#include "core/handle.h"

/* A digest under way. */
struct hasher;

/* Begins a digest by an algorithm of struct vhdx_hash_options; NULL means the default. Ends with
   hash_free(). */
int hash_begin(const char *algorithm, struct hasher **ret, struct vhdx_error *err);

/*
 * The disk goes on with these bytes, or with len zeros. Zeros take their time, too: who reports
 * progress passes them in steps of HASH_STEP. Without a hasher (NULL) nothing is done.
 */
int hash_update(struct hasher *h, const void *buf, size_t len, struct vhdx_error *err);
int hash_zeros(struct hasher *h, uint64_t len, struct vhdx_error *err);

#define HASH_STEP (64 * MIB)

/* The digest in lower-case hexadecimal. Nothing but hash_free() may follow. */
int hash_finish(struct hasher *h, char ret_hex[VHDX_HASH_TEXT], struct vhdx_error *err);

/* NULL is fine. */
void hash_free(struct hasher *h);

int hash_disk(struct vhdx *v, const struct vhdx_hash_options *opts, char ret_hex[VHDX_HASH_TEXT],
              struct vhdx_error *err);

#endif
