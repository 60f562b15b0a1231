/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The course of a recovery, and what of the image is still valid; see recover.h. */

#include "ops/recover.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ops/salvage.h"
#include "util/cleanup.h"

/* ---- Facts ---------------------------------------------------------------------------------- */

static const char *name_of(uint32_t what)
{
    static const char *const names[] = {
        [VHDX_RECOVER_IDENTIFIER] = "identifier",
        [VHDX_RECOVER_HEADERS] = "headers",
        [VHDX_RECOVER_LOG] = "log",
        [VHDX_RECOVER_REGION_TABLES] = "region-tables",
        [VHDX_RECOVER_METADATA] = "metadata",
        [VHDX_RECOVER_BAT] = "bat",
        [VHDX_RECOVER_BLOCK_SIZE] = "block-size",
        [VHDX_RECOVER_SECTOR_SIZE] = "sector-size",
        [VHDX_RECOVER_VIRTUAL_SIZE] = "virtual-size",
        [VHDX_RECOVER_PAYLOAD] = "payload",
        [VHDX_RECOVER_PARENT] = "parent",
    };

    return names[what];
}

void recover_found(struct recover *rc, uint32_t what, uint32_t source, uint32_t confidence,
                   uint64_t file_offset, uint64_t value, const char *fmt, ...)
{
    struct vhdx_error text;
    va_list args;

    va_start(args, fmt);
    fail_va(&text, VHDX_E_CORRUPT, file_offset, fmt, args);
    va_end(args);
    rc->confidence = confidence < rc->confidence ? confidence : rc->confidence;
    const struct vhdx_recovered_fact fact = {
        .struct_size = sizeof fact,
        .what = what,
        .source = source,
        .confidence = confidence,
        .file_offset = file_offset,
        .value = value,
        .name = name_of(what),
        .evidence = text.message,
    };
    if (rc->opts->found)
        rc->opts->found(&fact, rc->opts->opaque);
}

int recover_progress(const struct recover *rc, uint64_t done, struct vhdx_error *err)
{
    const struct vhdx_progress *p = &rc->opts->progress;

    if (p->fn && p->fn(min_u64(done, rc->size), rc->size, p->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

/* ---- What is still valid -------------------------------------------------------------------- */

static int read_ident(struct recover *rc, struct vhdx_error *err)
{
    struct ident_disk d;

    int r = io_pread(rc->io, &d, sizeof d, IDENT_OFFSET, err);
    rc->has_ident = r == 0 && ident_verify(&d, sizeof d, NULL) == 0;
    if (r == 0 && !rc->has_ident)
        recover_found(rc, VHDX_RECOVER_IDENTIFIER, VHDX_SOURCE_LOST, 100, IDENT_OFFSET, 0,
                      "the signature is not there");
    return r;
}

static int read_headers(struct recover *rc, struct vhdx_error *err)
{
    struct header_disk disk[2];
    struct header headers[2];
    bool valid[2];
    int copy = 0;

    for (int i = 0; i < 2; i++) {
        int r = io_pread(rc->io, &disk[i], sizeof disk[i], HEADER_OFFSET((unsigned)i), err);
        if (r < 0)
            return r;
        valid[i] = header_decode(&disk[i], i, NULL, &headers[i], NULL) == 0;
    }
    rc->has_header = valid[0] || valid[1];
    if (!rc->has_header) {
        recover_found(rc, VHDX_RECOVER_HEADERS, VHDX_SOURCE_LOST, 100, HEADER_OFFSET(0), 0,
                      "both are invalid: whether the log counts is to be concluded");
        return 0;
    }
    bool identical = memcmp(&disk[0], &disk[1], sizeof disk[0]) == 0;
    bool is_sure = header_choose(headers, valid, identical, &copy, NULL) == 0;
    rc->header = headers[copy];
    recover_found(rc, VHDX_RECOVER_HEADERS,
                  is_sure ? VHDX_SOURCE_INTACT : VHDX_SOURCE_GUESSED, is_sure ? 100 : 60,
                  HEADER_OFFSET((unsigned)copy), 0,
                  is_sure ? "header %d is valid" : "both have one sequence number; header %d is "
                                                   "used", copy + 1);
    return 0;
}

static int read_region_tables(struct recover *rc, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *buf = malloc(REGION_TABLE_SIZE);
    CLEANUP_FREE struct region_table *t = malloc(sizeof *t);
    int r = buf && t ? 0 : fail_nomem(err);

    for (int i = 0; i < 2 && r == 0 && !rc->has_regions; i++) {
        r = io_pread(rc->io, buf, REGION_TABLE_SIZE, REGION_TABLE_OFFSET((unsigned)i), err);
        if (r < 0 || region_table_decode(buf, i, NULL, t, NULL) < 0)
            continue;
        rc->has_regions = true;
        rc->bat_region = t->regions[t->bat];
        rc->metadata_region = t->regions[t->metadata];
        recover_found(rc, VHDX_RECOVER_REGION_TABLES, VHDX_SOURCE_INTACT, 100,
                      REGION_TABLE_OFFSET((unsigned)i), 0, "region table %d is valid", i + 1);
    }
    if (r == 0 && !rc->has_regions)
        recover_found(rc, VHDX_RECOVER_REGION_TABLES, VHDX_SOURCE_LOST, 100,
                      REGION_TABLE_OFFSET(0), 0, "both are invalid: the file is searched");
    return r;
}

/* ---- The course ----------------------------------------------------------------------------- */

static int prepare(const struct vhdx_io *file, const struct vhdx_io *scratch, uint64_t *ret_end,
                   const struct ranges **ret_lost, void *opaque, struct vhdx_error *err)
{
    struct recover *rc = opaque;

    rc->file = file;
    rc->io = scratch;
    int r = io_size(scratch, &rc->size, err);
    if (r == 0 && rc->size > LIMIT_FILE_SIZE)
        r = fail(err, VHDX_E_LIMIT, VHDX_OFFSET_NONE,
                 "file is %" PRIu64 " bytes long, must be at most 256 TiB", rc->size);
    if (r == 0 && rc->size <= HEADER_SECTION_SIZE)
        r = fail(err, VHDX_E_NOT_VHDX, VHDX_OFFSET_NONE,
                 "file is %" PRIu64 " bytes long, which holds nothing of a VHDX image", rc->size);
    if (r == 0)
        r = read_ident(rc, err);
    if (r == 0)
        r = read_headers(rc, err);
    if (r == 0 && rc->has_header)
        r = recover_known_log(rc, err);
    if (r == 0)
        r = read_region_tables(rc, err);
    if (r == 0)
        r = recover_plan(rc, err);
    if (r == 0)
        r = recover_build(rc, err);
    if (r < 0)
        return r;
    *ret_end = rc->size;
    *ret_lost = &rc->lost;
    return 0;
}

static void fill_result(const struct recover *rc, const struct vhdx_salvage_result *salvaged,
                        struct vhdx_recover_result *ret)
{
    const struct metadata *m = &rc->chosen;

    *ret = (struct vhdx_recover_result){
        .confidence = rc->confidence,
        .type = m->has_parent ? VHDX_TYPE_DIFFERENCING
                : m->leave_allocated ? VHDX_TYPE_FIXED : VHDX_TYPE_DYNAMIC,
        .block_size = m->block_size,
        .logical_sector_size = m->logical_sector_size,
        .virtual_size = m->virtual_size,
        .metadata_offset = rc->source ? rc->source->offset : VHDX_OFFSET_NONE,
        .bat_offset = rc->bat_offset,
        .lost_bytes = salvaged->lost_bytes,
        .lost_ranges = salvaged->lost_ranges,
        .findings = salvaged->findings,
    };
}

int recover_path(const char *path, const char *out_path, const struct vhdx_recover_options *opts,
                 struct vhdx_recover_result *ret, struct vhdx_error *err)
{
    struct recover *rc = calloc(1, sizeof *rc);
    struct vhdx_salvage_result salvaged;

    if (!rc)
        return fail_nomem(err);
    rc->path = path;
    rc->opts = opts;
    rc->confidence = 100;
    rc->entries_left = RECOVER_ENTRIES_MAX;
    const struct vhdx_salvage_options salvage = {
        .struct_size = sizeof salvage,
        .flags = opts->flags & VHDX_RECOVER_REPLACE ? VHDX_CONVERT_REPLACE : 0,
        .open_options = opts->open_options,
        .lost = opts->lost,
        .opaque = opts->opaque,
        .progress = opts->progress,
    };
    const struct salvage_job job = {
        .path = path, .out_path = out_path, .opts = &salvage, .format = opts->format,
        .open_flags = opts->flags & VHDX_RECOVER_ANY_PARENT ? VHDX_OPEN_ANY_PARENT : 0,
        .prepare = prepare, .opaque = rc,
    };
    int r = salvage_run(&job, &salvaged, err);
    if (r == 0)
        fill_result(rc, &salvaged, ret);
    space_end(&rc->data);
    ranges_free(&rc->brought);
    ranges_free(&rc->lost);
    free(rc);
    return r;
}
