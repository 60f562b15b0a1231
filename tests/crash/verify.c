/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Checks one state after a crash; see verify.h. */

#include "verify.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static void check_span(struct scene *s, struct vhdx *v, struct span span, uint64_t *ret_values)
{
    struct vhdx_error err;
    uint64_t value;

    if (vhdx_pread(v, s->buf, (size_t)span.count * SECTOR, model_offset(&s->model, span.first),
                   &err) < 0)
        scene_die(s, "reading", &err);
    for (uint32_t i = 0; i < span.count; i++) {
        uint32_t sector = span.first + i;
        bool whole = model_value(&s->model, sector, s->buf + (size_t)i * SECTOR, &value);
        if (!whole || !model_allows(&s->model, sector, value)) {
            struct vhdx_error text;
            snprintf(text.message, sizeof text.message,
                     "sector %u of slot %u is %s%" PRIu64 ", last flushed %" PRIu64
                     ", newest %" PRIu64, sector % (s->model.block_size / SECTOR),
                     sector / (s->model.block_size / SECTOR), whole ? "" : "a mixture, begins ",
                     value, s->model.sectors[sector].stable, model_newest(&s->model, sector));
            scene_die(s, "wrong content", &text);
        }
        if (ret_values)
            ret_values[sector] = value;
    }
}

static void check_content(struct scene *s, struct vhdx *v, bool all, uint64_t *ret_values)
{
    uint32_t sectors = s->model.block_size / SECTOR;

    for (uint32_t slot = 0; slot < s->model.slot_count; slot++) {
        if (all) {
            check_span(s, v, (struct span){ slot * sectors, sectors }, ret_values);
            continue;
        }
        for (uint32_t i = 0; i < s->model.watched_count; i++) {
            struct span w = s->model.watched[i];
            check_span(s, v, (struct span){ slot * sectors + w.first, w.count }, NULL);
        }
    }
}

/* ---- The tables, as they stand in the file after a replay ----------------------------------- */

struct place {
    uint64_t offset, length;
};

static int by_offset(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

static void check_places(const struct scene *s, struct place *places, size_t count)
{
    qsort(places, count, sizeof *places, by_offset);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && places[i - 1].offset + places[i - 1].length > places[i].offset)
            scene_die(s, "two blocks overlap in the file", NULL);
        if (places[i].offset < s->metadata_end)
            scene_die(s, "a block lies on the log or a region", NULL);
        if (places[i].offset + places[i].length > memfile_size(s->file))
            scene_die(s, "a block reaches past the end of the file", NULL);
    }
}

/* Every entry of the BAT: its state is one that the type of image allows, its place its own. */
static void check_bat(const struct scene *s, const struct vhdx_info *info)
{
    bool is_child = info->type == VHDX_TYPE_DIFFERENCING;
    uint64_t ratio = (UINT64_C(1) << 23) * info->logical_sector_size / info->block_size;
    uint64_t *bat = malloc((size_t)info->bat_entries * 8);
    struct place *places = malloc((SLOTS_MAX * 2 + 1) * sizeof *places);
    size_t count = 0;

    if (!bat || !places)
        abort();
    memfile_read(s->file, bat, (size_t)info->bat_entries * 8, info->bat_offset);
    for (uint64_t i = 0; i < info->bat_entries; i++) {
        uint64_t entry = le64toh(bat[i]), offset = entry & ~(MIB - 1);
        unsigned state = entry & 7;
        bool is_bitmap = i % (ratio + 1) == ratio;
        if (entry == 0)
            continue;
        if ((entry & (MIB - 8)) != 0 || (is_bitmap ? state != 0 && state != 6 : state == 4 ||
                                         state == 5 || (state == 7 && !is_child)))
            scene_die(s, "a BAT entry is not valid", NULL);
        if (offset != 0 && count > 2 * SLOTS_MAX)
            scene_die(s, "more blocks have a place than were ever written", NULL);
        if (offset != 0)
            places[count++] = (struct place){ offset, is_bitmap ? MIB : info->block_size };
        else if (state >= 6)
            scene_die(s, "a present block has no place", NULL);
    }
    check_places(s, places, count);
    free(places);
    free(bat);
}

static void check_structure(const struct scene *s, struct vhdx *v, bool is_replayed)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_error err;

    if (vhdx_get_stats(v, &stats, &err) < 0)
        scene_die(s, "counting blocks", &err);
    if (stats.lost_blocks > 0 || stats.cut_blocks > 0)
        scene_die(s, "a block lies past the end of the file", NULL);
    if (!is_replayed)
        return;
    if (vhdx_get_info(v, &info, &err) < 0)
        scene_die(s, "asking for facts", &err);
    check_bat(s, &info);
}

struct seen {
    uint32_t torn_headers, leaks;
    struct vhdx_error first; /* of the other errors */
};

static void on_finding(const struct vhdx_finding *f, void *opaque)
{
    struct seen *seen = opaque;

    seen->leaks += f->problem == VHDX_P_SPACE_LEAKED;
    if (f->severity < VHDX_SEVERITY_ERROR && f->problem != VHDX_P_SPACE_LEAKED)
        return;
    if (f->problem == VHDX_P_HEADER_CHECKSUM || f->problem == VHDX_P_HEADER_SIGNATURE)
        seen->torn_headers++;
    else if (!seen->first.message[0])
        snprintf(seen->first.message, sizeof seen->first.message, "%s: %.400s", f->name,
                 f->message);
}

/*
 * A check finds nothing wrong, before a replay and after it: but for a header that was being
 * written, until the replay, and for space behind the last structure, until a session changes
 * something.
 */
static void check_findings(struct scene *s, bool is_replayed)
{
    struct vhdx_check_options o = VHDX_CHECK_OPTIONS_INIT;
    struct vhdx_check_result found = VHDX_CHECK_RESULT_INIT;
    struct recorder r = { .file = s->file, .frozen = true };
    struct seen seen = { 0 };
    struct vhdx_error err;
    struct vhdx_io io;

    recorder_io(&r, &io);
    o.flags = VHDX_CHECK_NO_PARENT | VHDX_CHECK_NO_LOCK;
    o.finding = on_finding;
    o.opaque = &seen;
    if (vhdx_check_io(&io, &o, &found, &err) < 0)
        scene_die(s, "checking", &err);
    if (!found.complete || found.errors + found.fatals > seen.torn_headers ||
        seen.torn_headers > (is_replayed ? 0 : 1) || seen.leaks > 0)
        scene_die(s, is_replayed ? "a check after the replay finds" : "a check finds",
                  &seen.first);
    s->checked++;
    s->torn += seen.torn_headers > 0;
    s->trailing += is_replayed && found.leaks > 0;
}

void verify_state(struct scene *s, uint32_t flags, bool all, uint64_t *ret_values,
                  struct record *replay)
{
    bool is_writer = flags & VHDX_OPEN_RDWR;
    struct recorder r = s->recorder;
    struct vhdx_error err;
    struct vhdx *v;

    r.record = replay;
    r.frozen = !is_writer;
    if (scene_open(s, &r, flags, &v, &err) < 0)
        scene_die(s, is_writer ? "opening read-write" : "opening read-only", &err);
    check_structure(s, v, is_writer);
    check_content(s, v, all, ret_values);
    vhdx_close(v);
    if (s->verified++ % (is_writer ? 8 : 64) == 0)
        check_findings(s, is_writer);
}
