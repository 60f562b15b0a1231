/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The images that are damaged; see bases.h. Made through the public API. */

#include "bases.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct recipe {
    uint32_t type;
    uint32_t sector_size;
    uint32_t block_mib;
    uint32_t commits; /* small ones, so that the log goes round; 0: none */
    bool is_dirty;
};

static const struct recipe recipes[BASES] = {
    { VHDX_TYPE_DYNAMIC, 512, 1, 0, false },
    { VHDX_TYPE_DYNAMIC, 512, 1, 0, true },
    { VHDX_TYPE_DYNAMIC, 4096, 1, 0, false },
    { VHDX_TYPE_DYNAMIC, 4096, 2, 0, true },
    { VHDX_TYPE_DYNAMIC, 512, 2, 0, false },
    { VHDX_TYPE_DYNAMIC, 512, 1, 140, true },
    { VHDX_TYPE_FIXED, 512, 1, 0, false },
    { VHDX_TYPE_FIXED, 4096, 1, 0, true },
    { VHDX_TYPE_DIFFERENCING, 512, 1, 0, false },
    { VHDX_TYPE_DIFFERENCING, 512, 1, 0, true },
    { VHDX_TYPE_DIFFERENCING, 4096, 2, 0, false },
    { VHDX_TYPE_DIFFERENCING, 512, 2, 140, true },
    { VHDX_TYPE_DYNAMIC, 512, 1, 30, false },
    { VHDX_TYPE_FIXED, 512, 2, 30, true },
};

static void die(const char *what, const struct vhdx_error *err)
{
    fprintf(stderr, "FAILED: making an image to damage: %s: %s\n", what, err ? err->message : "");
    exit(1);
}

/* Recognisable data: block and sector in every byte. */
static void put(struct vhdx *v, uint64_t offset, size_t len, uint8_t seed)
{
    static uint8_t buf[64 << 10];
    struct vhdx_error err;

    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(seed + i / 512 * 7 + offset / MIB * 31) | 1;
    if (vhdx_pwrite(v, buf, len, offset, 0, &err) < 0)
        die("writing", &err);
}

/* Data at both ends of some blocks, a block of zeros, one that keeps its place, one that stays. */
static void fill(const struct recipe *r, struct vhdx *v)
{
    uint64_t block = r->block_mib * MIB;
    struct vhdx_error err;

    put(v, 0, 8192, 1);
    put(v, block - 4096, 4096, 2);
    put(v, 2 * block, 64 << 10, 3);
    put(v, 3 * block + 32768, 4096, 4);
    if (vhdx_zero(v, block, 4 * block, 0, &err) < 0 || vhdx_flush(v, &err) < 0 ||
        vhdx_trim(v, block, 3 * block, 0, &err) < 0 || vhdx_flush(v, &err) < 0)
        die("zeroing and trimming", &err);
    for (uint32_t i = 0; i < r->commits; i++) {
        if (i % 2)
            put(v, 5 * block, 4096, (uint8_t)i);
        else if (vhdx_trim(v, block, 5 * block, 0, &err) < 0)
            die("trimming", &err);
        if (vhdx_flush(v, &err) < 0)
            die("flushing", &err);
    }
    put(v, 5 * block + 4096, 8192, 5);
    if (vhdx_flush(v, &err) < 0 || (!r->is_dirty && vhdx_finish(v, &err) < 0))
        die("finishing", &err);
}

static void load(struct memfile *file, const char *path)
{
    uint8_t page[4096];
    FILE *f = fopen(path, "rb");
    uint64_t at = 0;
    size_t n;

    if (!f)
        die("opening the child", NULL);
    while ((n = fread(page, 1, sizeof page, f)) > 0) {
        bool zero = page[0] == 0 && memcmp(page, page + 1, n - 1) == 0;
        memfile_write(file, zero ? NULL : page, n, at);
        at += n;
    }
    fclose(f);
}

/* A child needs its parent as a file, also to be written to. */
static void make_child(const struct recipe *r, struct memfile *file, struct vhdx_create_options *o)
{
    char folder[64], parent[96], child[96];
    const char *tmp = getenv("TMPDIR");
    struct vhdx_error err;
    struct vhdx *v = NULL;

    snprintf(folder, sizeof folder, "%.40s/vhdx-damage-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder))
        die("making a temporary folder", NULL);
    snprintf(parent, sizeof parent, "%s/parent.vhdx", folder);
    snprintf(child, sizeof child, "%s/child.vhdx", folder);
    o->type = VHDX_TYPE_DYNAMIC;
    if (vhdx_create(parent, o, &err) < 0)
        die("creating the parent", &err);
    o->type = VHDX_TYPE_DIFFERENCING;
    o->parent_path = parent;
    if (vhdx_create(child, o, &err) < 0 || vhdx_open(child, VHDX_OPEN_RDWR, NULL, &v, &err) < 0)
        die("creating the child", &err);
    fill(r, v);
    vhdx_close(v);
    load(file, child);
    unlink(child);
    unlink(parent);
    rmdir(folder);
}

/* Where the structures are. */
static void look(struct base *b)
{
    struct recorder r = { .file = b->file, .frozen = true };
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;
    struct vhdx_io io;
    struct vhdx *v;

    recorder_io(&r, &io);
    if (vhdx_open_io(&io, VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK, NULL, &v, &err) < 0 ||
        vhdx_get_info(v, &info, &err) < 0)
        die("opening", &err);
    b->sector_size = info.logical_sector_size;
    b->block_size = info.block_size;
    b->log_offset = info.log_offset;
    b->log_length = info.log_length;
    b->metadata_offset = info.metadata_offset;
    b->bat_offset = info.bat_offset;
    b->bat_entries = info.bat_entries;
    uint64_t ratio = (UINT64_C(1) << 23) * b->sector_size / b->block_size;
    for (uint64_t i = ratio; i < info.bat_entries && b->bitmap_count < BITMAPS_MAX;
         i += ratio + 1) {
        uint64_t entry;
        memfile_read(b->file, &entry, sizeof entry, info.bat_offset + i * 8);
        entry = le64toh(entry);
        if ((entry & 7) == 6)
            b->bitmaps[b->bitmap_count++] = entry & ~(MIB - 1);
    }
    vhdx_close(v);
}

void base_make(struct base *b, uint32_t i)
{
    const struct recipe *r = &recipes[i];
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_error err;
    struct vhdx_io io;
    struct vhdx *v;

    *b = (struct base){ .file = memfile_new() };
    struct recorder rec = { .file = b->file };
    o.block_size = (uint32_t)(r->block_mib * MIB);
    o.size = 7 * o.block_size - 12288;
    o.logical_sector_size = r->sector_size;
    o.type = r->type;
    if (r->type == VHDX_TYPE_DIFFERENCING) {
        make_child(r, b->file, &o);
    } else {
        recorder_io(&rec, &io);
        if (vhdx_create_io(&io, &o, &err) < 0)
            die("creating", &err);
        recorder_io(&rec, &io);
        if (vhdx_open_io(&io, VHDX_OPEN_RDWR | VHDX_OPEN_NO_LOCK, NULL, &v, &err) < 0)
            die("opening to write", &err);
        fill(r, v);
        vhdx_close(v);
    }
    look(b);
}

void base_end(struct base *b)
{
    memfile_free(b->file);
}
