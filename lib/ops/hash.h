/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The digest of the virtual disk. */
#ifndef OPS_HASH_H
#define OPS_HASH_H

#include "core/handle.h"

int hash_disk(struct vhdx *v, const struct vhdx_hash_options *opts, char ret_hex[VHDX_HASH_TEXT],
              struct vhdx_error *err);

#endif
