/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What to do with a mounted image: a line for each partition with what it holds, and the command
 * that gets at its files.
 */
#ifndef VHDX_FUSE_ADVICE_H
#define VHDX_FUSE_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "partitions.h"

/*
 * Prints the advice on standard output. for_root: root can look into the mount, so that the
 * kernel's own file systems can be used.
 */
void advice_print(const char *dir, uint64_t disk_size, const struct partition_table *table,
                  bool writable, bool for_root);

#endif /* VHDX_FUSE_ADVICE_H */
