/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Locks that exclude, and are excluded by, QEMU's image locks.
 *
 * QEMU gives each permission a number: 0 consistent read, 1 write, 2 write unchanged, 3 resize. Who
 * holds permission p has a read lock (open file description, one byte) at 100 + p; who does not let
 * others hold p has one at 200 + p. So p may be taken if nobody stands at 200 + p, and refused to
 * others if nobody stands at 100 + p.
 */
#ifndef IO_LOCK_H
#define IO_LOCK_H

#include <stdbool.h>

#include "util/fail.h"

/*
 * Locks fd as a reader: it holds permission 0 and lets nobody write or resize. VHDX_E_LOCKED when a
 * writer is there. *ret_supported is false where the file system has no such locks. The lock ends
 * when the last descriptor of this open file is closed.
 */
int lock_reader(int fd, bool *ret_supported, struct vhdx_error *err);

/* The same as a writer: it holds permissions 0, 1 and 3 and lets nobody else write or resize; other
   readers that insist on an image that does not change are excluded, and exclude it. */
int lock_writer(int fd, bool *ret_supported, struct vhdx_error *err);

#endif
