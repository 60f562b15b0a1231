/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Reading the log's ring through a window, so that a log of 1 GiB costs 1 MiB of memory. */
#ifndef LOG_RING_H
#define LOG_RING_H

#include "format/ondisk.h"
#include "io/io.h"

#define LOG_WINDOW_SIZE (1 * MIB)

struct log_ring {
    const struct vhdx_io *io;
    uint64_t offset;        /* of the log in the file */
    uint32_t length;        /* of the log, bytes, a multiple of LOG_WINDOW_SIZE */
    uint8_t *window;        /* owned, LOG_WINDOW_SIZE bytes */
    uint32_t window_offset; /* in the log; UINT32_MAX: empty */
};

/* The ring lies inside the file. Ends with log_ring_end(). */
int log_ring_init(struct log_ring *ring, const struct vhdx_io *io, uint64_t offset,
                  uint32_t length, struct vhdx_error *err);

void log_ring_end(struct log_ring *ring);

/* The file offset of an offset in the log that may lie past its end by less than its length. */
static inline uint64_t log_ring_at(const struct log_ring *ring, uint32_t offset)
{
    return ring->offset + (offset < ring->length ? offset : offset - ring->length);
}

/* The sector at an offset in the log, which may lie past the end by less than the log's length:
   then it wraps round. *ret_sector is valid until the next call. */
int log_ring_sector(struct log_ring *ring, uint32_t offset, const uint8_t **ret_sector,
                    struct vhdx_error *err);

#endif
