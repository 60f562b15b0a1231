/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What each sector of 512 bytes of a disk may hold. A sector's content is its value: 0 is zeros,
 * any other value a pattern of the value and the sector's place, so that it tells who wrote it.
 *
 * A sector is either as the last completed flush left it or as a change after that flush made it.
 * Only a few payload blocks of the disk are used, the slots; the rest of the disk stays empty.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512u
#define SLOTS_MAX 160

struct later {
    uint64_t value;
    uint32_t next; /* in model.later; 0: none */
};

struct sector {
    uint64_t stable; /* as of the last completed flush */
    uint32_t later;  /* newest change since; index in model.later, 0: none */
};

/* A range of slots' sectors, in model numbering: slot * sectors per block + sector in block. */
struct span {
    uint32_t first, count;
};

struct model {
    uint32_t block_size;
    uint32_t slot_count;
    uint64_t blocks[SLOTS_MAX];  /* the payload block that is slot i, rising */
    uint32_t sector_count;       /* of all slots */
    struct sector *sectors;      /* owned */
    struct later *later;         /* owned; [0] is unused */
    uint32_t later_count, later_capacity;
    uint32_t *changed;           /* owned; sectors with a later change */
    uint32_t changed_count;
    struct span watched[3];      /* in each slot: compared in every state */
    uint32_t watched_count;
};

void model_init(struct model *m, uint32_t block_size, const uint64_t *blocks, uint32_t count);
void model_end(struct model *m);

uint64_t model_offset(const struct model *m, uint32_t sector); /* on the virtual disk, bytes */

void model_fill(const struct model *m, uint32_t sector, uint64_t value, uint8_t *buf);
/* Reads a sector's value; false if it is none. */
bool model_value(const struct model *m, uint32_t sector, const uint8_t *buf, uint64_t *ret_value);

void model_change(struct model *m, struct span s, uint64_t value);
void model_flush(struct model *m);
uint64_t model_newest(const struct model *m, uint32_t sector);
bool model_allows(const struct model *m, uint32_t sector, uint64_t value);

#endif
