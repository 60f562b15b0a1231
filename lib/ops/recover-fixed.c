/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Images of which no BAT is found: fixed ones, whose payload is contiguous, so that only its
 * beginning has to be known, and empty ones; see recover.h.
 */

#include <inttypes.h>

#include "ops/recover.h"

#define DEFAULT_BLOCK_SIZE (2 * MIB) /* it does not matter where the payload is contiguous */
#define STARTS_MAX 65536             /* MiBs looked at for the beginning of a disk */

struct start {
    uint64_t by_end;  /* the payload ends with the file; 0: does not fit */
    uint64_t by_signs; /* the first place where a disk begins; 0: none */
    struct disk_signs signs;
};

static const struct recover_metadata *best_metadata(const struct recover *rc)
{
    for (uint32_t i = 0; i < rc->metadata_count; i++)
        if (rc->metadata[i].is_intact)
            return &rc->metadata[i];
    return rc->metadata_count > 0 ? &rc->metadata[0] : NULL;
}

/* ---- What is known -------------------------------------------------------------------------- */

static void take_sizes(struct recover *rc, const struct recover_metadata *m)
{
    const struct vhdx_recover_options *o = rc->opts;
    struct metadata *c = &rc->chosen;

    rc->source = m;
    *c = m ? m->m : (struct metadata){ 0 };
    if (o->block_size || !recover_knows(m, METADATA_FILE_PARAMETERS))
        c->block_size = o->block_size ? o->block_size : (uint32_t)DEFAULT_BLOCK_SIZE;
    if (o->logical_sector_size || !recover_knows(m, METADATA_LOGICAL_SECTOR_SIZE))
        c->logical_sector_size = o->logical_sector_size;
    if (!recover_knows(m, METADATA_PHYSICAL_SECTOR_SIZE))
        c->physical_sector_size = 4096;
    if (o->virtual_size || !recover_knows(m, METADATA_VIRTUAL_DISK_SIZE))
        c->virtual_size = o->virtual_size;
    if (m)
        recover_found(rc, VHDX_RECOVER_METADATA,
                      rc->has_regions ? VHDX_SOURCE_INTACT : VHDX_SOURCE_FOUND,
                      !m->is_intact ? 80 : rc->has_regions ? 100 : 95, m->offset, 0,
                      m->is_intact ? "its table and its items are valid"
                                   : "damaged, but some of its items are valid");
    else
        recover_found(rc, VHDX_RECOVER_METADATA, VHDX_SOURCE_LOST, 100, VHDX_OFFSET_NONE, 0,
                      "nothing of it is found");
}

static void signs_at(const struct recover *rc, uint64_t offset, struct disk_signs *ret)
{
    struct recover_disk disk = { .rc = rc, .payload_offset = offset, .size = rc->size };
    const struct disk_reader reader = { recover_read_disk, &disk };

    recover_signs(&reader, ret);
}

/* ---- Where the payload begins --------------------------------------------------------------- */

static void look_at_start(const struct recover *rc, struct start *s)
{
    uint64_t length = div_ceil(rc->chosen.virtual_size, rc->chosen.block_size) *
                      rc->chosen.block_size;
    uint64_t end = align_up(rc->size, MIB);
    uint32_t looked = 0;

    if (length > 0 && end >= HEADER_SECTION_SIZE && length <= end - HEADER_SECTION_SIZE)
        s->by_end = end - length;
    for (uint64_t mib = 1; mib < rc->data.size_mib && looked < STARTS_MAX; mib++) {
        if (!recover_has_data(rc, mib))
            continue;
        looked++;
        signs_at(rc, mib * MIB, &s->signs);
        if (s->signs.strength >= DISK_BOOT) {
            s->by_signs = mib * MIB;
            return;
        }
    }
    s->signs = (struct disk_signs){ .text = "nothing" };
}

static int choose_start(struct recover *rc, const struct start *s, struct vhdx_error *err)
{
    uint64_t at = rc->opts->payload_offset;

    if (at != VHDX_OFFSET_NONE) {
        rc->payload_offset = at;
        recover_found(rc, VHDX_RECOVER_PAYLOAD, VHDX_SOURCE_GIVEN, 100, at, 0, "as given");
        return 0;
    }
    if (s->by_end != 0 && s->by_signs != 0 && s->by_signs < s->by_end)
        return fail(err, VHDX_E_CORRUPT, s->by_signs,
                    "the payload may begin at %#" PRIx64 ", where a disk begins (%s), or at %#"
                    PRIx64 ", so that it ends with the file, and nothing decides: payload_offset "
                    "must be given", s->by_signs, s->signs.text, s->by_end);
    if (s->by_end == 0 && s->by_signs == 0)
        return fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                    "nothing tells where the payload begins: payload_offset must be given");
    rc->payload_offset = s->by_end ? s->by_end : s->by_signs;
    if (s->by_end != 0 && s->by_end == s->by_signs)
        recover_found(rc, VHDX_RECOVER_PAYLOAD, VHDX_SOURCE_FOUND, 97, rc->payload_offset, 0,
                      "a disk begins there (%s), and so ends with the file", s->signs.text);
    else if (s->by_end != 0)
        recover_found(rc, VHDX_RECOVER_PAYLOAD, VHDX_SOURCE_GUESSED, 75, rc->payload_offset, 0,
                      "so that it ends with the file");
    else
        recover_found(rc, VHDX_RECOVER_PAYLOAD, VHDX_SOURCE_GUESSED, 70, rc->payload_offset, 0,
                      "the first place where a disk begins (%s)", s->signs.text);
    return 0;
}

static void take_fixed_size(struct recover *rc, const struct disk_signs *signs)
{
    struct metadata *c = &rc->chosen;
    bool is_given = rc->opts->virtual_size != 0;
    uint64_t rest = rc->size - rc->payload_offset;

    if (c->logical_sector_size == 0) {
        c->logical_sector_size = signs->sector_size ? signs->sector_size : 512;
        recover_found(rc, VHDX_RECOVER_SECTOR_SIZE, VHDX_SOURCE_GUESSED,
                      signs->sector_size ? 98 : 90, VHDX_OFFSET_NONE, c->logical_sector_size,
                      signs->sector_size ? "by the place of the GPT" : "what most disks have");
    }
    if (c->virtual_size != 0) {
        recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE,
                      is_given ? VHDX_SOURCE_GIVEN : VHDX_SOURCE_INTACT, 100, VHDX_OFFSET_NONE,
                      c->virtual_size, "%s", is_given ? "as given" : "from the metadata");
        return;
    }
    bool by_gpt = signs->is_exact && is_aligned(signs->size, c->logical_sector_size);
    c->virtual_size = by_gpt ? signs->size
                             : min_u64(align_down(rest, c->logical_sector_size),
                                       LIMIT_VIRTUAL_SIZE);
    recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE, VHDX_SOURCE_GUESSED,
                  !by_gpt ? 60 : signs->strength == DISK_GPT_BACKUP ? 99 : 90, VHDX_OFFSET_NONE,
                  c->virtual_size, "%s", by_gpt ? "by the GPT" : "by the end of the file");
}

static int plan_fixed(struct recover *rc, struct vhdx_error *err)
{
    struct start start = { .signs = { .text = "nothing" } };

    look_at_start(rc, &start);
    int r = choose_start(rc, &start, err);
    if (r < 0)
        return r;
    if (rc->payload_offset >= rc->size)
        return fail(err, VHDX_E_INVALID, rc->payload_offset,
                    "the payload offset is %#" PRIx64 ", but the file ends at %#" PRIx64,
                    rc->payload_offset, rc->size);
    signs_at(rc, rc->payload_offset, &start.signs);
    take_fixed_size(rc, &start.signs);
    recover_found(rc, VHDX_RECOVER_BAT, VHDX_SOURCE_LOST, 90, VHDX_OFFSET_NONE, 0,
                  "none that names blocks is found; the payload is taken as contiguous");
    rc->chosen.has_parent = false;
    rc->chosen.leave_allocated = true;
    rc->bat_offset = VHDX_OFFSET_NONE;
    rc->highest_end = rc->size;
    return 0;
}

/* ---- Without payload ------------------------------------------------------------------------ */

static bool has_any_data(const struct recover *rc)
{
    for (uint64_t mib = 1; mib < rc->data.size_mib; mib++)
        if (recover_has_data(rc, mib))
            return true;
    return false;
}

static int plan_empty(struct recover *rc)
{
    rc->bat_offset = VHDX_OFFSET_NONE;
    rc->payload_offset = 0;
    rc->highest_end = rc->size;
    recover_found(rc, VHDX_RECOVER_BAT, VHDX_SOURCE_LOST, 80, VHDX_OFFSET_NONE, 0,
                  "none is found, and the file holds no payload: the disk is taken as empty");
    recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE, VHDX_SOURCE_INTACT, 100, VHDX_OFFSET_NONE,
                  rc->chosen.virtual_size, "from the metadata");
    return 0;
}

int recover_without_bat(struct recover *rc, struct vhdx_error *err)
{
    const struct recover_metadata *m = best_metadata(rc);
    bool knows = recover_knows(m, METADATA_FILE_PARAMETERS);
    bool is_fixed = (rc->opts->flags & VHDX_RECOVER_FIXED) ||
                    (knows && m->m.leave_allocated && !m->m.has_parent);

    if (!is_fixed && !m && !rc->has_ident && !rc->has_header && !rc->has_regions)
        return fail(err, VHDX_E_NOT_VHDX, VHDX_OFFSET_NONE,
                    "no identifier, header, region table, metadata or BAT of a VHDX image is "
                    "found");
    bool is_empty = !is_fixed && knows && recover_knows(m, METADATA_VIRTUAL_DISK_SIZE) &&
                    rc->opts->bat_offset == VHDX_OFFSET_NONE && !has_any_data(rc);
    if (!is_fixed && !is_empty && rc->opts->bat_offset != VHDX_OFFSET_NONE)
        return fail(err, VHDX_E_CORRUPT, rc->opts->bat_offset,
                    "what stands at %#" PRIx64 ", the given bat_offset, is no BAT",
                    rc->opts->bat_offset);
    if (!is_fixed && !is_empty)
        return fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                    "no BAT is found: bat_offset must be given, or that the image is fixed");
    take_sizes(rc, m);
    if (is_empty) {
        if (rc->chosen.logical_sector_size == 0)
            rc->chosen.logical_sector_size = 512;
        return plan_empty(rc);
    }
    return plan_fixed(rc, err);
}
