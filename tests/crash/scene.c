/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The image that a crash test works on; see scene.h. The work itself is work.c. */

#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PARENT_VALUE (UINT64_C(1) << 40)

void scene_die(const struct scene *s, const char *what, const struct vhdx_error *err)
{
    fprintf(stderr, "FAILED: %s: %s: %s\n", s->doing, what, err ? err->message : "");
    if (s->folder[0]) {
        unlink(s->parent_path);
        rmdir(s->folder);
    }
    exit(1);
}

/* xorshift64* */
uint64_t scene_random(struct scene *s, uint64_t below)
{
    s->rng ^= s->rng >> 12;
    s->rng ^= s->rng << 25;
    s->rng ^= s->rng >> 27;
    return (s->rng * UINT64_C(2685821657736338717) >> 16) % below;
}

/* ---- Where the slots are -------------------------------------------------------------------- */

static uint32_t choose_blocks(const struct scene *s, uint64_t *blocks)
{
    static const uint64_t pages[] = { 0, 1, 2, 511, 512, 1023, 1024, 1025, 1536 };
    static const uint64_t chunks[] = { 0, 1, 15, 16, 17, 40, 64, 4094, 4095, 4096, 4097, 4112 };
    uint32_t n = 0;

    switch (s->kind) {
    case SCENE_PAGES:
        n = sizeof pages / sizeof *pages;
        memcpy(blocks, pages, sizeof pages);
        break;
    case SCENE_CHUNKS:
        n = sizeof chunks / sizeof *chunks;
        memcpy(blocks, chunks, sizeof chunks);
        break;
    case SCENE_WIDE:
        for (; n < 110; n++)
            blocks[n] = n * UINT64_C(513);
        break;
    default:
        for (; n < 5; n++)
            blocks[n] = n;
        break;
    }
    return n;
}

static void choose_model(struct scene *s)
{
    uint64_t blocks[SLOTS_MAX];
    uint32_t count = choose_blocks(s, blocks);
    bool big = s->kind == SCENE_DYNAMIC || s->kind == SCENE_CHILD;
    uint32_t block_size = (uint32_t)(big && scene_random(s, 4) == 0 ? 2 * MIB : MIB);
    uint32_t sectors = block_size / SECTOR;

    model_init(&s->model, block_size, blocks, count);
    if (s->kind == SCENE_WIDE) {
        s->model.watched[0] = (struct span){ 0, 8 };
        s->model.watched_count = 1;
    } else {
        s->model.watched[0] = (struct span){ 0, 32 };
        s->model.watched[1] = (struct span){ sectors / 2, 24 };
        s->model.watched[2] = (struct span){ sectors - 32, 32 };
        s->model.watched_count = 3;
    }
    s->live = calloc(s->model.sector_count, sizeof *s->live);
    s->buf = malloc(2 * (size_t)block_size);
    if (!s->live || !s->buf)
        abort();
}

/* ---- Creating ------------------------------------------------------------------------------- */

static void write_parent_span(struct scene *s, struct vhdx *v, struct span span)
{
    struct vhdx_error err;

    for (uint32_t i = 0; i < span.count; i++) {
        uint32_t sector = span.first + i;
        model_fill(&s->model, sector, PARENT_VALUE, s->buf + (size_t)i * SECTOR);
        s->model.sectors[sector].stable = s->live[sector] = PARENT_VALUE;
    }
    if (vhdx_pwrite(v, s->buf, (size_t)span.count * SECTOR, model_offset(&s->model, span.first), 0,
                    &err) < 0)
        scene_die(s, "writing the parent", &err);
}

/* The parent holds some whole blocks, some windows, and nothing of the rest. */
static void fill_parent(struct scene *s)
{
    uint32_t sectors = s->model.block_size / SECTOR;
    struct vhdx_error err;
    struct vhdx *v;

    if (vhdx_open(s->parent_path, VHDX_OPEN_RDWR, NULL, &v, &err) < 0)
        scene_die(s, "opening the parent", &err);
    for (uint32_t slot = 0; slot < s->model.slot_count; slot++) {
        uint64_t kind = scene_random(s, 4);
        if (kind == 0)
            write_parent_span(s, v, (struct span){ slot * sectors, sectors });
        for (uint32_t i = 0; kind == 1 && i < s->model.watched_count; i++)
            write_parent_span(s, v, (struct span){ slot * sectors + s->model.watched[i].first,
                                                   s->model.watched[i].count });
    }
    if (vhdx_finish(v, &err) < 0)
        scene_die(s, "finishing the parent", &err);
    vhdx_close(v);
}

static void load_file(struct scene *s, const char *path)
{
    uint8_t page[4096];
    FILE *f = fopen(path, "rb");
    uint64_t at = 0;
    size_t n;

    if (!f)
        scene_die(s, "opening the child", NULL);
    while ((n = fread(page, 1, sizeof page, f)) > 0) {
        memfile_write(s->file, page[0] || memcmp(page, page + 1, n - 1) ? page : NULL, n, at);
        at += n;
    }
    fclose(f);
}

static void create_child(struct scene *s, struct vhdx_create_options *o)
{
    struct vhdx_create_options parent = *o;
    char child[128];
    struct vhdx_error err;
    const char *tmp = getenv("TMPDIR");

    snprintf(s->folder, sizeof s->folder, "%.40s/vhdx-crash-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(s->folder))
        scene_die(s, "making a temporary folder", NULL);
    snprintf(s->parent_path, sizeof s->parent_path, "%s/parent.vhdx", s->folder);
    snprintf(child, sizeof child, "%s/child.vhdx", s->folder);
    parent.block_size = (uint32_t)(MIB << scene_random(s, 2));
    if (vhdx_create(s->parent_path, &parent, &err) < 0)
        scene_die(s, "creating the parent", &err);
    fill_parent(s);
    o->parent_path = s->parent_path;
    if (vhdx_create(child, o, &err) < 0)
        scene_die(s, "creating the child", &err);
    load_file(s, child);
    unlink(child);
    s->parents[0] = s->parent_path;
    s->options.parents = s->parents;
    s->options.parents_count = 1;
}

int scene_open(const struct scene *s, struct recorder *r, uint32_t flags, struct vhdx **ret,
               struct vhdx_error *err)
{
    struct vhdx_io io;

    recorder_io(r, &io);
    return vhdx_open_io(&io, flags | VHDX_OPEN_NO_LOCK, &s->options, ret, err);
}

void scene_begin(struct scene *s, enum scene_kind kind, uint64_t seed)
{
    struct vhdx_create_options o = VHDX_CREATE_OPTIONS_INIT;
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err;
    struct vhdx_io io;
    bool is_child = kind == SCENE_CHILD || kind == SCENE_CHUNKS;

    *s = (struct scene){ .kind = kind, .rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1,
                         .doing = "creating", .options = VHDX_OPEN_OPTIONS_INIT };
    for (int i = 0; i < 8; i++)
        scene_random(s, 2);
    s->file = memfile_new();
    s->sector_size = scene_random(s, 3) == 0 ? 4096 : 512;
    choose_model(s);
    s->recorder = (struct recorder){ .file = s->file, .no_discard = scene_random(s, 4) == 0,
                                     .no_zero = scene_random(s, 2) == 0 };
    o.size = (s->model.blocks[s->model.slot_count - 1] + 1) * s->model.block_size;
    o.block_size = s->model.block_size;
    o.logical_sector_size = s->sector_size;
    recorder_io(&s->recorder, &io);
    if (kind == SCENE_FIXED)
        o.type = VHDX_TYPE_FIXED;
    if (is_child)
        create_child(s, &o);
    else if (vhdx_create_io(&io, &o, &err) < 0)
        scene_die(s, "creating", &err);
    if (scene_open(s, &s->recorder, VHDX_OPEN_RDONLY, &s->v, &err) < 0 ||
        vhdx_get_info(s->v, &info, &err) < 0)
        scene_die(s, "opening what was created", &err);
    s->metadata_end = info.bat_offset + info.bat_length;
    vhdx_close(s->v);
    s->v = NULL;
}

void scene_end(struct scene *s)
{
    if (s->folder[0]) {
        unlink(s->parent_path);
        rmdir(s->folder);
    }
    record_clear(&s->record);
    memfile_free(s->file);
    model_end(&s->model);
    free(s->events);
    free(s->live);
    free(s->buf);
}
