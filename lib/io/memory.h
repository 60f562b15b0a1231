/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A file in memory as struct vhdx_io: for tests, and for images that never touch a disk. */
#ifndef IO_MEMORY_H
#define IO_MEMORY_H

#include "util/fail.h"

/* Begins as a copy of len bytes at data. */
int memory_open(const void *data, size_t len, struct vhdx_io *ret, struct vhdx_error *err);

#endif
