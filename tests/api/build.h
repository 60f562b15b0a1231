/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Small images for the tests of the public API, built in memory byte by byte from [MS-VHDX], and a
 * model of what they must read as. Shares nothing with the library.
 *
 * Layout: headers, log at 1 MiB, metadata at 2 MiB, BAT at 3 MiB, then blocks in the order in which
 * they are asked for. Byte o of the virtual disk, where layer n holds it, is build_byte(n, o).
 */
#ifndef API_BUILD_H
#define API_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#include "bytes.h"

#define BUILD_LOG (1 * M)
#define BUILD_METADATA (2 * M)
#define BUILD_BAT (3 * M)

/* States of payload blocks. */
enum { NOT_PRESENT = 0, UNDEFINED = 1, ZERO = 2, UNMAPPED = 3, FULL = 6, PARTIAL = 7 };

struct build_spec {
    uint64_t size;            /* of the virtual disk */
    uint32_t block_size;      /* 0: 1 MiB */
    uint32_t sector_size;     /* 0: 512 */
    uint32_t type;            /* VHDX_TYPE_..., 0: dynamic */
    uint32_t layer;           /* which pattern its data has */
    const char *guid;         /* DataWriteGuid */
    const char *parent_guid;  /* differencing only */
    const char *relative_path;
};

struct build {
    struct build_spec spec;
    uint8_t *bytes;           /* the file */
    uint64_t length, capacity;
    uint64_t blocks, ratio;   /* payload blocks, and those in a chunk */
    uint8_t *states;          /* of each payload block */
    uint8_t *bits;            /* of each sector, least significant bit first */
    uint64_t logged[64];      /* file offsets of sectors that go through the log */
    unsigned logged_count;
    uint64_t cut;             /* bytes by which the file is too short until the replay */
    uint64_t end;             /* of the file after the replay */
};

void build_begin(struct build *b, const struct build_spec *spec);
void build_end(struct build *b);

/* Sets the state of a payload block; gives it a place and its pattern if it is present. Returns its
   file offset, or 0. */
uint64_t build_block(struct build *b, uint64_t block, unsigned state);

/* Says that [offset, offset + len) of the disk, whole sectors in partially present blocks, is in
   this file. */
void build_present(struct build *b, uint64_t offset, uint64_t len);

/* The sector of the file that holds the BAT entry of a payload block. */
uint64_t build_bat_sector(const struct build *b, uint64_t block);

/* Lets the 4 KiB at this file offset stand in the log only: in their place there is noise. */
void build_through_log(struct build *b, uint64_t offset);

/* The finished file: headers, checksums, the log. Nothing may be changed after it. */
void build_finish(struct build *b);

void build_write(const struct build *b, const char *path);
struct vhdx_io build_io(const struct build *b);

uint8_t build_byte(uint32_t layer, uint64_t offset);

/* What a read of the chain (layers[0] is the child) must give. */
void build_expect(const struct build *const layers[], unsigned count, uint64_t offset, void *buf,
                  size_t len);

#endif
