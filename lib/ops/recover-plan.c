/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Which reading of the file is the right one; see recover.h. All combinations of a metadata
 * candidate (or none), a BAT candidate and, where the metadata does not say, of the sizes of blocks
 * and sectors are tried. Two that are about equally likely are not chosen between.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ops/recover.h"
#include "util/cleanup.h"

#define MARGIN 6    /* of scores: less decides nothing */
#define DOMINANCE 15 /* a plan that explains another is right unless it scores this much less */
#define BAT_ENTRIES_MAX (513 * MIB / BAT_ENTRY_SIZE) /* for 64 TiB of 1 MiB blocks */

struct plans {
    struct recover *rc;
    struct recover_plan *items; /* owned, RECOVER_PLANS_MAX */
    uint32_t count;
};

/* ---- Reading a disk by a plan --------------------------------------------------------------- */

static bool place_of(const struct recover_disk *d, uint64_t offset, uint64_t *ret)
{
    const struct recover_bat *bat = d->bat;
    struct le64 entry;

    if (!bat) {
        *ret = d->payload_offset + offset;
        return true;
    }
    uint64_t block = offset >> bat->block_shift;
    uint64_t index = block + (block >> bat->chunk_shift);
    if (index >= bat->entries ||
        io_pread(d->rc->io, &entry, sizeof entry, bat->offset + index * BAT_ENTRY_SIZE, NULL) < 0)
        return false;
    *ret = bat_is_present(le64_get(entry)) ? bat_file_offset(le64_get(entry)) : 0;
    if (*ret)
        *ret += offset & ((UINT64_C(1) << bat->block_shift) - 1);
    return true;
}

/* Never across the end of a block: pieces of at most 4 KiB, aligned to 512 bytes. */
bool recover_read_disk(uint64_t offset, void *buf, size_t len, void *opaque)
{
    const struct recover_disk *d = opaque;
    uint64_t at = 0;

    memset(buf, 0, len);
    if (!place_of(d, offset, &at))
        return false;
    if (at == 0)
        return true;
    return range_fits(at, len, d->size) && io_pread(d->rc->io, buf, len, at, NULL) == 0;
}

static void read_signs(const struct recover *rc, struct recover_plan *p)
{
    struct recover_bat bat = p->bat;
    struct recover_disk disk = { .rc = rc, .bat = &bat, .size = rc->size };
    const struct disk_reader reader = { recover_read_disk, &disk };

    bat.entries = p->fit.entries;
    recover_signs(&reader, &p->signs);
}

/* ---- How likely a plan is ------------------------------------------------------------------- */

static bool is_acceptable(const struct recover_plan *p)
{
    const struct recover_fit *f = &p->fit;

    if (f->owns_itself || (p->metadata && (f->owned_metadata >> p->metadata_index & 1)))
        return false;
    if (p->is_listed) /* there is no doubt where it is, but much of it may be damaged */
        return f->bad <= f->used / 2 && f->overlaps <= f->present / 2;
    return f->present + f->past > 0 && f->bad <= f->used / 16 && f->overlaps <= f->present / 8;
}

/* Does the size of sectors matter to where blocks are? */
static bool has_chunks(const struct recover_plan *p)
{
    return p->fit.last_block != UINT64_MAX &&
           p->fit.last_block >> (CHUNK_SECTORS_SHIFT + 9 - p->bat.block_shift) != 0;
}

static int score_of(const struct recover_plan *p)
{
    static const int by_strength[] = { 0, 4, 9, 12, 15 };
    const struct recover_fit *f = &p->fit;
    uint64_t blocks = max_u64(f->present, 1);
    int score = 15 + by_strength[p->signs.strength] + (int)min_u64(f->present, 5);

    if (f->present > 0)
        score += 10 + (int)(f->data ? 35 * f->covered / f->data : 35) +
                 (int)((f->adjacent >= f->present - f->present / 4 ? 20 : 10) *
                       min_u64(f->adjacent, blocks) / blocks);
    if (p->metadata)
        score += (p->metadata->is_intact ? 3 : 1) + (f->entries >= p->bat.wanted ? 2 : 0);
    if (has_chunks(p))
        score += (f->witnessed > 0 ? 2 : 0) + (p->bat.sector_shift == 9 ? 1 : 0);
    if (p->signs.sector_size != 0)
        score += p->signs.sector_size == UINT64_C(1) << p->bat.sector_shift ? 1 : -3;
    score -= (int)(f->used ? 60 * f->bad / f->used : 0);
    score -= (int)(60 * min_u64(f->overlaps, blocks) / blocks);
    return score < 0 ? 0 : score;
}

/* Nothing that is concluded is certain. */
static uint32_t percent(const struct recover_plan *p)
{
    return (uint32_t)(p->score < 99 ? p->score : 99);
}

/* Do both plans show the same disk, but perhaps for its size? */
static bool is_same_disk(const struct recover_plan *a, const struct recover_plan *b)
{
    if (a->bat.offset != b->bat.offset)
        return false;
    if (a->fit.present + a->fit.past + b->fit.present + b->fit.past == 0)
        return true; /* an empty one */
    return a->bat.block_shift == b->bat.block_shift &&
           (a->bat.chunk_shift == b->bat.chunk_shift || (!has_chunks(a) && !has_chunks(b)));
}

/* Are the other plan's structures what this one's blocks hold? */
static bool contains(const struct recover_plan *a, const struct recover_plan *b)
{
    if (a->bat.offset != b->bat.offset && (a->fit.owned_candidates >> b->bat_index & 1))
        return true;
    return b->metadata && a->metadata != b->metadata &&
           (a->fit.owned_metadata >> b->metadata_index & 1);
}

static bool dominates(const struct recover_plan *a, const struct recover_plan *b)
{
    bool knows_more = a->bat.offset == b->bat.offset && !b->metadata &&
                      recover_knows(a->metadata, METADATA_FILE_PARAMETERS);

    return (knows_more || (contains(a, b) && !contains(b, a))) &&
           a->score + DOMINANCE > b->score;
}

/* ---- All plans ------------------------------------------------------------------------------ */

static void add_plan(struct plans *all, const struct recover_plan *p)
{
    uint32_t worst = 0;

    if (all->count < RECOVER_PLANS_MAX) {
        all->items[all->count++] = *p;
        return;
    }
    for (uint32_t i = 1; i < all->count; i++)
        if (all->items[i].score < all->items[worst].score)
            worst = i;
    if (all->items[worst].score < p->score)
        all->items[worst] = *p;
}

/* How many entries may the BAT have, and how many must it? */
static void bound_entries(const struct recover *rc, struct recover_plan *p)
{
    const struct recover_metadata *m = p->metadata;
    uint64_t size = rc->opts->virtual_size;
    uint64_t max = BAT_ENTRIES_MAX;

    if (size == 0 && recover_knows(m, METADATA_VIRTUAL_DISK_SIZE))
        size = m->m.virtual_size;
    if (m && m->offset > p->bat.offset)
        max = min_u64(max, (m->offset - p->bat.offset) / BAT_ENTRY_SIZE);
    p->bat.wanted = p->bat.blocks = 0;
    if (size != 0) {
        struct geometry g;
        const struct metadata sizes = {
            .virtual_size = size, .has_parent = p->bat.has_parent,
            .block_size = (uint32_t)(UINT64_C(1) << p->bat.block_shift),
            .logical_sector_size = (uint32_t)(UINT64_C(1) << p->bat.sector_shift),
        };
        geometry_init(&g, &sizes);
        p->bat.wanted = g.bat_entries;
        p->bat.blocks = g.payload_blocks;
        max = min_u64(max, g.bat_entries);
    }
    p->bat.entries = max;
}

/* Tries one combination. Partially present blocks tell of a parent where the metadata does not. */
static int try_plan(struct plans *all, struct recover_plan *p, struct vhdx_error *err)
{
    bool knows_parent = recover_knows(p->metadata, METADATA_FILE_PARAMETERS);

    p->bat.chunk_shift = CHUNK_SECTORS_SHIFT + p->bat.sector_shift - p->bat.block_shift;
    p->bat.has_parent = knows_parent && p->metadata->m.has_parent;
    bound_entries(all->rc, p);
    int r = recover_fit(all->rc, &p->bat, &p->fit, err);
    if (r == 0 && !knows_parent && p->fit.partial > 0) {
        p->bat.has_parent = true;
        bound_entries(all->rc, p);
        r = recover_fit(all->rc, &p->bat, &p->fit, err);
    }
    if (r < 0 || !is_acceptable(p))
        return r;
    read_signs(all->rc, p);
    p->score = score_of(p);
    add_plan(all, p);
    return 0;
}

/* Bit i: a size of 2^i bytes is to be tried. */
static uint64_t block_shifts(const struct recover *rc, const struct recover_metadata *m)
{
    if (rc->opts->block_size)
        return rc->opts->block_size;
    if (recover_knows(m, METADATA_FILE_PARAMETERS))
        return m->m.block_size;
    return 2 * LIMIT_BLOCK_SIZE_MAX - LIMIT_BLOCK_SIZE_MIN;
}

static uint64_t sector_shifts(const struct recover *rc, const struct recover_metadata *m)
{
    if (rc->opts->logical_sector_size)
        return rc->opts->logical_sector_size;
    return recover_knows(m, METADATA_LOGICAL_SECTOR_SIZE) ? m->m.logical_sector_size : 512 | 4096;
}

static int try_sizes(struct plans *all, struct recover_plan *p, struct vhdx_error *err)
{
    uint64_t blocks = block_shifts(all->rc, p->metadata);
    uint64_t sectors = sector_shifts(all->rc, p->metadata);
    int r = 0;

    for (uint32_t block = 20; block <= 28 && r == 0; block++)
        for (uint32_t sector = 9; sector <= 12 && r == 0; sector += 3) {
            if (!(blocks >> block & 1) || !(sectors >> sector & 1))
                continue;
            p->bat.block_shift = block;
            p->bat.sector_shift = sector;
            r = try_plan(all, p, err);
        }
    return r;
}

/* That no metadata candidate is the right one is tried, too, unless one is listed. */
static int try_all(struct plans *all, bool is_bat_listed, struct vhdx_error *err)
{
    struct recover *rc = all->rc;
    bool is_listed = rc->has_regions && rc->metadata_count > 0;
    int r = 0;

    for (uint32_t i = 0; i < rc->bats_count && r == 0; i++)
        for (uint32_t k = is_listed ? 1 : 0; k <= rc->metadata_count && r == 0; k++) {
            struct recover_plan p = {
                .metadata = k == 0 ? NULL : &rc->metadata[k - 1],
                .bat = { .offset = rc->bats[i] },
                .bat_index = i, .metadata_index = k == 0 ? 0 : k - 1,
                .is_listed = is_bat_listed,
            };
            if (p.metadata && p.metadata->offset == p.bat.offset)
                continue;
            r = try_sizes(all, &p, err);
            if (r == 0)
                r = recover_progress(rc, rc->size, err);
        }
    return r;
}

/* ---- The best ------------------------------------------------------------------------------- */

static bool is_dominated(const struct plans *all, uint32_t which)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (i != which && dominates(&all->items[i], &all->items[which]))
            return true;
    return false;
}

static int fail_ambiguous(const struct recover_plan *a, const struct recover_plan *b,
                          struct vhdx_error *err)
{
    uint64_t at = a->bat.offset;
    uint32_t sure_a = percent(a), sure_b = percent(b);

    if (at != b->bat.offset)
        return fail(err, VHDX_E_CORRUPT, at,
                    "the BAT may lie at %#" PRIx64 " (%" PRIu32 " %%) or at %#" PRIx64 " (%" PRIu32
                    " %%), and nothing decides: bat_offset must be given", at, sure_a,
                    b->bat.offset, sure_b);
    if (a->bat.block_shift != b->bat.block_shift)
        return fail(err, VHDX_E_CORRUPT, at,
                    "by the BAT at %#" PRIx64 " the block size may be %d MiB (%" PRIu32
                    " %%) or %d MiB (%" PRIu32 " %%), and nothing decides: block_size must be "
                    "given", at, 1 << (a->bat.block_shift - 20), sure_a,
                    1 << (b->bat.block_shift - 20), sure_b);
    return fail(err, VHDX_E_CORRUPT, at,
                "by the BAT at %#" PRIx64 " the logical sector size may be %d (%" PRIu32
                " %%) or %d (%" PRIu32 " %%), and nothing decides: logical_sector_size must be "
                "given", at, 1 << a->bat.sector_shift, sure_a, 1 << b->bat.sector_shift, sure_b);
}

/* The sizes of sectors alone are decided by what is usual. */
static bool is_close(const struct recover_plan *best, const struct recover_plan *p)
{
    bool differs_in_sectors = best->bat.offset == p->bat.offset &&
                              best->bat.block_shift == p->bat.block_shift;

    return !is_same_disk(best, p) && p->score + (differs_in_sectors ? 1 : MARGIN) > best->score;
}

/* *ret NULL: there is no plan. */
static int choose(struct plans *all, struct recover_plan **ret, struct vhdx_error *err)
{
    struct recover_plan *best = NULL;

    for (uint32_t i = 0; i < all->count; i++)
        if (!is_dominated(all, i) && (!best || all->items[i].score > best->score))
            best = &all->items[i];
    for (uint32_t i = 0; best && i < all->count; i++)
        if (!is_dominated(all, i) && is_close(best, &all->items[i]))
            return fail_ambiguous(best, &all->items[i], err);
    *ret = best;
    return 0;
}

/* ---- The outcome ---------------------------------------------------------------------------- */

static void tell_metadata(struct recover *rc, const struct recover_plan *p)
{
    const struct recover_metadata *m = p->metadata;
    const uint32_t all_items = (1u << METADATA_PARENT_LOCATOR) - 1;
    char missing[160] = "";
    size_t end = 0;

    if (!m) {
        recover_found(rc, VHDX_RECOVER_METADATA, VHDX_SOURCE_LOST, 100, VHDX_OFFSET_NONE, 0,
                      "nothing of it is found");
        return;
    }
    for (int k = 0; k < METADATA_PARENT_LOCATOR; k++)
        if (!(m->known >> k & 1) && end < sizeof missing)
            end += (size_t)snprintf(missing + end, sizeof missing - end, "%s%s",
                                    end ? ", " : "", metadata_name((enum metadata_known)k));
    bool is_whole = (m->known & all_items) == all_items;
    recover_found(rc, VHDX_RECOVER_METADATA,
                  rc->has_regions && m->is_intact ? VHDX_SOURCE_INTACT : VHDX_SOURCE_FOUND,
                  !m->is_intact ? 80 : rc->has_regions ? 100 : p->score > 95 ? 99 : 95, m->offset,
                  0, "%s%s", m->is_intact ? "its table and its items are valid"
                             : is_whole ? "its table is damaged, its items are valid"
                                        : "damaged; lost: ", missing);
}

static void tell_bat(struct recover *rc, const struct recover_plan *p)
{
    const struct recover_fit *f = &p->fit;
    uint32_t source = rc->opts->bat_offset != VHDX_OFFSET_NONE ? VHDX_SOURCE_GIVEN
                      : p->is_listed ? VHDX_SOURCE_INTACT : VHDX_SOURCE_FOUND;
    char coverage[64] = "";

    if (f->data > 0)
        snprintf(coverage, sizeof coverage, ", %" PRIu64 " %% of the data in the file in blocks",
                 100 * f->covered / f->data);
    recover_found(rc, VHDX_RECOVER_BAT, source,
                  source != VHDX_SOURCE_FOUND ? 100 : percent(p), p->bat.offset, 0,
                  "%" PRIu64 " blocks in the file, %" PRIu64 " past its end, %" PRIu64
                  " bad entries%s; disk begins with: %s", f->present, f->past,
                  f->bad + f->overlaps, coverage, p->signs.text);
}

static void tell_sizes(struct recover *rc, const struct recover_plan *p)
{
    const struct recover_metadata *m = p->metadata;
    const struct recover_fit *f = &p->fit;
    uint64_t block_size = UINT64_C(1) << p->bat.block_shift;
    bool from_gpt = p->signs.sector_size == UINT64_C(1) << p->bat.sector_shift;

    if (rc->opts->block_size)
        recover_found(rc, VHDX_RECOVER_BLOCK_SIZE, VHDX_SOURCE_GIVEN, 100, VHDX_OFFSET_NONE,
                      block_size, "as given");
    else if (recover_knows(m, METADATA_FILE_PARAMETERS))
        recover_found(rc, VHDX_RECOVER_BLOCK_SIZE, VHDX_SOURCE_INTACT, 100, VHDX_OFFSET_NONE,
                      block_size, "from the metadata");
    else
        recover_found(rc, VHDX_RECOVER_BLOCK_SIZE, VHDX_SOURCE_GUESSED, percent(p),
                      VHDX_OFFSET_NONE, block_size,
                      "%" PRIu64 " of %" PRIu64 " blocks end where another or the file does",
                      f->adjacent, f->present);
    if (rc->opts->logical_sector_size || recover_knows(m, METADATA_LOGICAL_SECTOR_SIZE))
        recover_found(rc, VHDX_RECOVER_SECTOR_SIZE,
                      rc->opts->logical_sector_size ? VHDX_SOURCE_GIVEN : VHDX_SOURCE_INTACT, 100,
                      VHDX_OFFSET_NONE, UINT64_C(1) << p->bat.sector_shift,
                      rc->opts->logical_sector_size ? "as given" : "from the metadata");
    else
        recover_found(rc, VHDX_RECOVER_SECTOR_SIZE, VHDX_SOURCE_GUESSED,
                      from_gpt ? 98 : f->witnessed > 0 ? 95 : has_chunks(p) ? 75 : 90,
                      VHDX_OFFSET_NONE, UINT64_C(1) << p->bat.sector_shift,
                      from_gpt ? "by the place of the GPT"
                      : f->witnessed > 0 ? "by the empty entries of sector bitmaps in the BAT"
                                         : "what most disks have");
}

/* The end of the disk, where no metadata tells. */
static uint64_t guess_size(struct recover *rc, const struct recover_plan *p)
{
    const struct disk_signs *s = &p->signs;
    uint64_t sector = UINT64_C(1) << p->bat.sector_shift;
    uint64_t last = p->fit.last_block == UINT64_MAX ? 0 : p->fit.last_block;
    uint64_t by_bat = min_u64((last + 1) << p->bat.block_shift, LIMIT_VIRTUAL_SIZE);
    uint32_t confidence = 50;
    const char *why = "by the last block that is used; the disk may be larger";
    uint64_t size = by_bat;

    if (s->is_exact && s->size > last << p->bat.block_shift && is_aligned(s->size, sector)) {
        size = s->size;
        confidence = s->strength == DISK_GPT_BACKUP ? 99 : 90;
        why = s->strength == DISK_GPT_BACKUP ? "by the GPT, whose copy stands at the disk's end"
                                             : "by the GPT";
    } else if (s->size > 0) {
        size = max_u64(by_bat, min_u64(align_up(s->size, MIB), LIMIT_VIRTUAL_SIZE));
        confidence = 60;
        why = "so that the partitions or the file system and all used blocks fit; the disk may be "
              "a little larger";
    }
    recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE, VHDX_SOURCE_GUESSED, confidence,
                  VHDX_OFFSET_NONE, size, "%s (%s)", why, s->text);
    return size;
}

static void take_size(struct recover *rc, const struct recover_plan *p)
{
    const struct recover_metadata *m = p->metadata;

    if (rc->opts->virtual_size) {
        rc->chosen.virtual_size = rc->opts->virtual_size;
        recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE, VHDX_SOURCE_GIVEN, 100, VHDX_OFFSET_NONE,
                      rc->chosen.virtual_size, "as given");
    } else if (recover_knows(m, METADATA_VIRTUAL_DISK_SIZE)) {
        rc->chosen.virtual_size = m->m.virtual_size;
        recover_found(rc, VHDX_RECOVER_VIRTUAL_SIZE, VHDX_SOURCE_INTACT, 100, VHDX_OFFSET_NONE,
                      rc->chosen.virtual_size, "from the metadata");
    } else {
        rc->chosen.virtual_size = guess_size(rc, p);
    }
}

/* What the metadata has in common whatever the plan. */
static void take_metadata(struct recover *rc, const struct recover_metadata *m)
{
    rc->source = m;
    rc->chosen = m ? m->m : (struct metadata){ 0 };
    if (!recover_knows(m, METADATA_PHYSICAL_SECTOR_SIZE))
        rc->chosen.physical_sector_size = 4096;
}

static void take_plan(struct recover *rc, const struct recover_plan *p)
{
    tell_metadata(rc, p);
    tell_bat(rc, p);
    tell_sizes(rc, p);
    take_metadata(rc, p->metadata);
    rc->chosen.block_size = (uint32_t)(UINT64_C(1) << p->bat.block_shift);
    rc->chosen.logical_sector_size = (uint32_t)(UINT64_C(1) << p->bat.sector_shift);
    rc->chosen.has_parent = p->bat.has_parent;
    take_size(rc, p);
    rc->bat_offset = p->bat.offset;
    rc->bat_available = p->fit.entries;
    rc->highest_end = p->fit.highest_end;
}

/* ---- The course ----------------------------------------------------------------------------- */

/* Goes through the file, and again if the log brings something that no header told of. */
static int search(struct recover *rc, struct vhdx_error *err)
{
    bool replayed = false;

    if (rc->is_scanned)
        return 0;
    int r = recover_scan(rc, err);
    if (r == 0 && !rc->has_header && !rc->is_log_done)
        r = recover_found_log(rc, &replayed, err);
    rc->is_log_done = true;
    return r == 0 && replayed ? recover_scan(rc, err) : r;
}

static void read_listed(struct recover *rc)
{
    if (rc->has_regions) /* nothing else is metadata */
        rc->metadata_count = recover_read_metadata(rc, rc->metadata_region.offset,
                                                   &rc->metadata[0]);
}

static void name_bat(struct recover *rc, uint64_t offset)
{
    rc->bats[0] = offset;
    rc->bats_count = offset < rc->size;
}

/*
 * The candidates: what the caller or a region table names, in the first pass, else what the search
 * finds. If all that matters is known the file is not searched.
 */
static int gather(struct recover *rc, int pass, bool *ret_is_listed, struct vhdx_error *err)
{
    uint64_t given = rc->opts->bat_offset;

    *ret_is_listed = pass == 0 && rc->has_regions && given == VHDX_OFFSET_NONE;
    read_listed(rc);
    if (!*ret_is_listed || rc->metadata_count == 0 ||
        !recover_knows(&rc->metadata[0], METADATA_FILE_PARAMETERS) ||
        !recover_knows(&rc->metadata[0], METADATA_VIRTUAL_DISK_SIZE)) {
        int r = search(rc, err);
        if (r < 0)
            return r;
        read_listed(rc);
    }
    if (*ret_is_listed || given != VHDX_OFFSET_NONE) {
        name_bat(rc, *ret_is_listed ? rc->bat_region.offset : given);
        rc->is_scanned = false; /* the search's candidates are gone */
    }
    return 0;
}

/* A fixed image whose BAT names nothing has lost it. */
static bool is_lost_bat(const struct recover *rc, const struct recover_plan *p)
{
    bool is_fixed = (rc->opts->flags & VHDX_RECOVER_FIXED) ||
                    (recover_knows(p->metadata, METADATA_FILE_PARAMETERS) &&
                     p->metadata->m.leave_allocated && !p->metadata->m.has_parent);

    return is_fixed && p->fit.present + p->fit.past == 0;
}

/* A BAT of nothing but zeros, where the file holds more than structures, is a lost one. */
static int look_for_data(struct recover *rc, bool *ret_found, struct vhdx_error *err)
{
    int r = search(rc, err);

    *ret_found = false;
    for (uint64_t mib = 1; r == 0 && mib < rc->data.size_mib && !*ret_found; mib++)
        *ret_found = recover_has_data(rc, mib);
    read_listed(rc);
    return r;
}

static int plan_by_bat(struct recover *rc, struct plans *all, int pass, bool *ret_done,
                       struct vhdx_error *err)
{
    struct recover_plan *best = NULL;
    bool is_listed;

    all->count = 0;
    int r = gather(rc, pass, &is_listed, err);
    if (r == 0)
        r = try_all(all, is_listed, err);
    if (r == 0)
        r = choose(all, &best, err);
    if (r < 0)
        return r;
    bool is_lost = !best || is_lost_bat(rc, best);
    if (!is_lost && best->fit.used == 0 && is_listed)
        r = look_for_data(rc, &is_lost, err);
    *ret_done = r == 0 && !is_lost;
    if (*ret_done)
        take_plan(rc, best);
    return r;
}

int recover_plan(struct recover *rc, struct vhdx_error *err)
{
    CLEANUP_FREE struct recover_plan *items = calloc(RECOVER_PLANS_MAX, sizeof *items);
    struct plans all = { .rc = rc, .items = items };
    bool is_named = rc->has_regions && rc->opts->bat_offset == VHDX_OFFSET_NONE;
    bool done = false;
    int r = items ? 0 : fail_nomem(err);

    if (r == 0 && rc->opts->payload_offset == VHDX_OFFSET_NONE) {
        r = plan_by_bat(rc, &all, 0, &done, err);
        if (r == 0 && !done && is_named)
            r = plan_by_bat(rc, &all, 1, &done, err); /* by what the search finds */
    }
    if (r < 0 || done)
        return r;
    r = search(rc, err);
    if (r == 0) {
        read_listed(rc);
        r = recover_without_bat(rc, err);
    }
    return r;
}
