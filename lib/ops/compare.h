/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Comparing two disks. */
#ifndef OPS_COMPARE_H
#define OPS_COMPARE_H

#include "disk/disk.h"

/* vhdx_compare(). Neither disk is a stream. */
int compare_disks(struct vhdx_disk *a, struct vhdx_disk *b,
                  const struct vhdx_compare_options *opts, struct vhdx_compare_result *ret,
                  struct vhdx_error *err);

/* What is made of the differences, for compare_each(). */
struct compare_sink {
    uint64_t size;  /* bytes, from the beginning, that are compared */
    uint32_t grain; /* bytes, 512 or 4096: differences are of this granularity */
    /* Called for each stretch of at most 2 MiB, in order, from one thread at a time. bytes are b's;
       NULL: all zero. Negative ends the comparison. */
    int (*fn)(void *opaque, uint64_t offset, uint64_t len, const uint8_t *bytes,
              struct vhdx_error *err);
    void *opaque;
};

/* Gives the sink all in which b differs from a; a disk that ends before sink->size is taken to go
   on with zeros. Adds what was read of both to *read_bytes. */
int compare_each(struct vhdx_disk *a, struct vhdx_disk *b, unsigned threads,
                 const struct vhdx_progress *progress, const struct compare_sink *sink,
                 uint64_t *read_bytes, struct vhdx_error *err);

#endif
