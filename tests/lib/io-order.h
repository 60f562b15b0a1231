/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A layer over a struct vhdx_io that watches what is written to a VHDX image and ends the program
 * when the order in which the format's rules say so is not kept:
 *
 *   - a header names a log only while a valid sequence with that LogGuid is stable in it;
 *   - sectors of the BAT and of the metadata region are written in place only with the content that
 *     an entry, stable in the log, carries for them;
 *   - what the active sequence needs is not overwritten;
 *   - sequence numbers of entries rise by one, those of headers rise;
 *   - the FileWriteGuid changes before the first other write of a session, and the DataWriteGuid
 *     before the first write to the payload.
 *
 * Watched is an image that exists already; order_wrap() begins a session. Not thread-safe.
 */
#ifndef TESTS_IO_ORDER_H
#define TESTS_IO_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhdx.h"

/* A sector of 4 KiB that an entry of the log carries. */
struct order_sector {
    uint64_t offset; /* in the file */
    bool is_stable;
    bool is_newest;  /* of the newest entry, not the one before */
    uint8_t bytes[4096];
};

/* An entry of the log. */
struct order_entry {
    uint32_t offset, length, tail;
    uint64_t sequence_number;
    uint8_t guid[16];
    bool is_stable;
};

struct order {
    struct vhdx_io io;            /* beneath */
    uint64_t log_offset, bat_offset, metadata_offset;
    uint32_t log_length, bat_length, metadata_length;
    uint64_t header_sequence;
    uint8_t file_guid[16], data_guid[16], log_guid[16]; /* of the newest header */
    uint8_t stable_log_guid[16];  /* of the newest header that is stable */
    bool is_file_session, is_data_session;
    bool is_replaying;            /* a log was there when the session began */
    struct order_entry entries[512]; /* newest last */
    size_t entry_count;
    struct order_sector *sectors; /* owned; those of the last entries */
    size_t sector_count, sector_capacity;
    uint8_t *part;                /* owned; beginning of an entry that goes round the log's end */
    uint32_t part_length, part_offset;
    int off;                      /* 1: a call has failed, nothing is watched any more */
};

/* Puts the layer over *io, which becomes the layer's table. *o is zeroed, or was used for a session
   that has ended. */
void order_wrap(struct order *o, struct vhdx_io *io);

void order_end(struct order *o);

#endif
