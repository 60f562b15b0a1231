/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The log's ring; see ring.h. */

#include "log/ring.h"

#include <stdlib.h>

int log_ring_init(struct log_ring *ring, const struct vhdx_io *io, uint64_t offset,
                  uint32_t length, struct vhdx_error *err)
{
    *ring = (struct log_ring){ .io = io, .offset = offset, .length = length,
                               .window = malloc(LOG_WINDOW_SIZE), .window_offset = UINT32_MAX };
    return ring->window ? 0 : fail_nomem(err);
}

void log_ring_end(struct log_ring *ring)
{
    free(ring->window);
    ring->window = NULL;
}

int log_ring_sector(struct log_ring *ring, uint32_t offset, const uint8_t **ret_sector,
                    struct vhdx_error *err)
{
    if (offset >= ring->length)
        offset -= ring->length;

    uint32_t window = (uint32_t)align_down(offset, LOG_WINDOW_SIZE);
    if (window != ring->window_offset) {
        ring->window_offset = UINT32_MAX;
        int r = io_pread(ring->io, ring->window, LOG_WINDOW_SIZE, ring->offset + window, err);
        if (r < 0)
            return r;
        ring->window_offset = window;
    }
    *ret_sector = ring->window + (offset - window);
    return 0;
}
