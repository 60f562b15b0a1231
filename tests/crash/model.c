/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What each sector may hold; see model.h. */

#include "model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (SECTOR / 8)

void model_init(struct model *m, uint32_t block_size, const uint64_t *blocks, uint32_t count)
{
    *m = (struct model){ .block_size = block_size, .slot_count = count };
    assert(count <= SLOTS_MAX);
    memcpy(m->blocks, blocks, count * sizeof *blocks);
    m->sector_count = count * (block_size / SECTOR);
    m->sectors = calloc(m->sector_count, sizeof *m->sectors);
    m->changed = calloc(m->sector_count, sizeof *m->changed);
    m->later_capacity = 1024;
    m->later = calloc(m->later_capacity, sizeof *m->later);
    m->later_count = 1;
    assert(m->sectors && m->changed && m->later);
}

void model_end(struct model *m)
{
    free(m->sectors);
    free(m->changed);
    free(m->later);
    *m = (struct model){ 0 };
}

uint64_t model_offset(const struct model *m, uint32_t sector)
{
    uint32_t per_block = m->block_size / SECTOR;

    return m->blocks[sector / per_block] * m->block_size +
           (uint64_t)(sector % per_block) * SECTOR;
}

static uint64_t second_word(uint32_t sector, uint64_t value)
{
    return (value + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (sector + 1) * UINT64_C(0xff51afd7ed558ccd);
}

void model_fill(const struct model *m, uint32_t sector, uint64_t value, uint8_t *buf)
{
    uint64_t words[WORDS], word = second_word(sector, value);

    (void)m;
    if (value == 0) {
        memset(buf, 0, SECTOR);
        return;
    }
    words[0] = value;
    for (unsigned i = 1; i < WORDS; i++)
        words[i] = word + i;
    memcpy(buf, words, SECTOR);
}

bool model_value(const struct model *m, uint32_t sector, const uint8_t *buf, uint64_t *ret_value)
{
    uint64_t words[WORDS], bad = 0;

    (void)m;
    memcpy(words, buf, SECTOR);
    uint64_t word = words[0] ? second_word(sector, words[0]) : 0, step = words[0] ? 1 : 0;
    for (unsigned i = 1; i < WORDS; i++)
        bad |= words[i] ^ (word + i * step);
    *ret_value = words[0];
    return bad == 0;
}

static uint32_t new_later(struct model *m, uint64_t value, uint32_t next)
{
    if (m->later_count == m->later_capacity) {
        m->later_capacity *= 2;
        m->later = realloc(m->later, m->later_capacity * sizeof *m->later);
        assert(m->later);
    }
    m->later[m->later_count] = (struct later){ value, next };
    return m->later_count++;
}

void model_change(struct model *m, struct span s, uint64_t value)
{
    for (uint32_t i = s.first; i < s.first + s.count; i++) {
        struct sector *sector = &m->sectors[i];
        if (sector->later == 0)
            m->changed[m->changed_count++] = i;
        sector->later = new_later(m, value, sector->later);
    }
}

void model_flush(struct model *m)
{
    for (uint32_t i = 0; i < m->changed_count; i++) {
        struct sector *s = &m->sectors[m->changed[i]];
        s->stable = m->later[s->later].value;
        s->later = 0;
    }
    m->changed_count = 0;
    m->later_count = 1;
}

uint64_t model_newest(const struct model *m, uint32_t sector)
{
    const struct sector *s = &m->sectors[sector];

    return s->later ? m->later[s->later].value : s->stable;
}

bool model_allows(const struct model *m, uint32_t sector, uint64_t value)
{
    const struct sector *s = &m->sectors[sector];

    for (uint32_t i = s->later; i != 0; i = m->later[i].next)
        if (m->later[i].value == value)
            return true;
    return s->stable == value;
}
