/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Reading images of every kind, compared with the model; and that reading changes nothing. */

#include "build.h"

#include <time.h>

#include "expect.h"
#include "tempdir.h"

#define LAYERS 3

static const char *const guids[LAYERS] = { "c3c3c3c3-1111-2222-3333-444444444444",
                                           "c2c2c2c2-1111-2222-3333-444444444444",
                                           "c1c1c1c1-1111-2222-3333-444444444444" };
static const char *const names[LAYERS] = { "child.vhdx", "middle.vhdx", "base.vhdx" };

/* A chain on disk and its model; layers[0] is the child. */
struct chain {
    unsigned count;
    struct build layers[LAYERS];
    const struct build *model[LAYERS];
    struct vhdx *v;
};

static struct build *add_layer(struct chain *c, struct build_spec spec, bool has_parent)
{
    static const char *const paths[] = { ".\\middle.vhdx", ".\\base.vhdx" };
    unsigned i = c->count++;

    spec.guid = guids[i];
    spec.layer = 10 + i;
    if (has_parent) {
        spec.type = VHDX_TYPE_DIFFERENCING;
        spec.parent_guid = guids[i + 1];
        spec.relative_path = paths[i];
    }
    build_begin(&c->layers[i], &spec);
    c->model[i] = &c->layers[i];
    return &c->layers[i];
}

/* ---- Kinds of images ------------------------------------------------------------------------ */

static void make_fixed(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 5 * M, .type = VHDX_TYPE_FIXED },
                                false);

    for (unsigned i = 0; i < 5; i++)
        build_block(b, i, FULL);
}

static void make_scattered(struct chain *c)
{
    static const unsigned order[] = { 4, 2, 3, 0, 7 };
    struct build *b = add_layer(c, (struct build_spec){ .size = 8 * M }, false);

    for (unsigned i = 0; i < COUNT(order); i++)
        build_block(b, order[i], FULL);
}

static void make_every_state(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 7 * M }, false);

    build_block(b, 0, FULL);
    build_block(b, 1, UNDEFINED);
    build_block(b, 2, ZERO);
    build_block(b, 3, UNMAPPED);
    build_block(b, 4, FULL);
    build_block(b, 6, FULL);
}

static void make_large_sectors(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 6 * M + 4096, .block_size = 2 * M,
                                                        .sector_size = 4096 }, false);

    build_block(b, 3, FULL);
    build_block(b, 1, FULL);
}

static void make_odd_size(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 3 * M + 512, .block_size = 2 * M },
                                false);

    build_block(b, 1, FULL);
}

/* Beyond the first chunk the BAT is interleaved. */
static void make_three_chunks(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 9 * G, .block_size = M }, false);

    build_block(b, 0, FULL);
    build_block(b, 4095, FULL);
    build_block(b, 4096, FULL);
    build_block(b, 8191, FULL);
    build_block(b, 8192, FULL);
    build_block(b, 9215, FULL);
}

static void fill_child(struct build *b)
{
    build_block(b, 1, PARTIAL);
    build_present(b, 1 * M, 512);
    build_present(b, 1 * M + 8 * 512, 64 * 512);
    build_present(b, 2 * M - 512, 512);
    build_block(b, 2, FULL);
    build_block(b, 3, PARTIAL);
    build_present(b, 3 * M, M);
    build_block(b, 4, ZERO);
    build_block(b, 5, PARTIAL); /* no sector of it */
    build_block(b, 6, UNDEFINED);
    build_block(b, 7, UNMAPPED);
}

static void make_child(struct chain *c)
{
    fill_child(add_layer(c, (struct build_spec){ .size = 9 * M }, true));
    struct build *base = add_layer(c, (struct build_spec){ .size = 9 * M }, false);
    for (unsigned i = 0; i < 8; i++)
        build_block(base, i, FULL);
}

static void make_chain_of_sizes(struct chain *c)
{
    fill_child(add_layer(c, (struct build_spec){ .size = 10 * M }, true));
    struct build *middle =
        add_layer(c, (struct build_spec){ .size = 5 * M + 512, .block_size = 2 * M }, true);
    build_block(middle, 0, PARTIAL);
    for (unsigned i = 0; i < 2048; i += 3)
        build_present(middle, i * 512, 512);
    build_block(middle, 2, PARTIAL);
    build_present(middle, 5 * M, 512);
    struct build *base = add_layer(c, (struct build_spec){ .size = 12 * M }, false);
    for (unsigned i = 0; i < 12; i++)
        build_block(base, i, i == 3 ? ZERO : FULL);
}

static void make_partial_over_chunks(struct chain *c)
{
    struct build *b = add_layer(c, (struct build_spec){ .size = 9 * G, .block_size = M }, true);

    build_block(b, 4095, PARTIAL);
    build_present(b, 4096 * M - 5 * 512, 5 * 512);
    build_block(b, 4096, PARTIAL);
    build_present(b, 4096 * M, 3 * 512);
    build_block(b, 9215, PARTIAL);
    build_present(b, 9215 * M + 512, 512);
    b = add_layer(c, (struct build_spec){ .size = 9 * G, .block_size = 32 * M }, false);
    build_block(b, 128, FULL);
    build_block(b, 127, FULL);
}

static void make_dirty(struct chain *c)
{
    make_every_state(c);
    build_through_log(&c->layers[0], build_bat_sector(&c->layers[0], 0));
    build_through_log(&c->layers[0], BUILD_METADATA + 64 * K);
    build_through_log(&c->layers[0], 192 * K);
    build_through_log(&c->layers[0], 256 * K);
}

static void make_dirty_child(struct chain *c)
{
    make_child(c);
    struct build *b = &c->layers[0];
    uint64_t bitmap = get_int(b->bytes + BUILD_BAT + 8 * 4096, 8) - FULL;
    build_through_log(b, build_bat_sector(b, 0));
    build_through_log(b, build_bat_sector(b, 4096));
    build_through_log(b, bitmap);
    build_through_log(&c->layers[1], build_bat_sector(&c->layers[1], 0));
}

/* What its last block holds behind the end of its disk is not the child's. */
static void make_parent_that_ends_in_a_block(struct chain *c)
{
    add_layer(c, (struct build_spec){ .size = 8 * M }, true);
    struct build *base =
        add_layer(c, (struct build_spec){ .size = 5 * M + 512, .block_size = 4 * M }, false);
    build_block(base, 0, FULL);
    build_block(base, 1, FULL);
}

static void make_empty(struct chain *c)
{
    add_layer(c, (struct build_spec){ .size = 0 }, false);
}

struct kind {
    const char *name;
    void (*make)(struct chain *c);
    uint64_t places[4]; /* where reads go, besides anywhere */
};

static const struct kind kinds[] = {
    { "a fixed image", make_fixed, { 0 } },
    { "a dynamic image with its blocks out of order", make_scattered, { 0 } },
    { "a block of every state", make_every_state, { 0 } },
    { "sectors of 4096", make_large_sectors, { 0 } },
    { "a size that is not whole blocks", make_odd_size, { 3 * M } },
    { "three chunks", make_three_chunks, { 4095 * M, 4096 * M, 8192 * M, 9215 * M } },
    { "a child with a sector bitmap", make_child, { 1 * M, 2 * M, 5 * M } },
    { "a chain of three with different sizes", make_chain_of_sizes, { 1 * M, 5 * M, 10 * M } },
    { "a child over several chunks", make_partial_over_chunks, { 4096 * M, 4095 * M, 9215 * M } },
    { "a log that is not replayed", make_dirty, { 0 } },
    { "a chain with logs that are not replayed", make_dirty_child, { 1 * M } },
    { "a parent that ends inside a block", make_parent_that_ends_in_a_block, { 5 * M } },
    { "a disk of no size", make_empty, { 0 } },
};

static void open_chain(struct chain *c, struct folder *f, const struct kind *kind)
{
    struct vhdx_error err = blank_error();

    *c = (struct chain){ 0 };
    kind->make(c);
    for (unsigned i = 0; i < c->count; i++) {
        build_finish(&c->layers[i]);
        build_write(&c->layers[i], in_folder(f, names[i]));
    }
    if (vhdx_open(in_folder(f, names[0]), 0, NULL, &c->v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    assert_true(vhdx_size(c->v) == c->layers[0].spec.size);
}

static void close_chain(struct chain *c)
{
    vhdx_close(c->v);
    for (unsigned i = 0; i < c->count; i++)
        build_end(&c->layers[i]);
}

/* ---- Compared with the model ---------------------------------------------------------------- */

static void read_and_compare(struct chain *c, uint64_t offset, size_t len)
{
    uint8_t *found = malloc(len ? len : 1), *expected = malloc(len ? len : 1);
    struct vhdx_error err = blank_error();

    if (vhdx_pread(c->v, found, len, offset, &err) < 0)
        fail_test("%zu bytes at %" PRIu64 ": %s\n", len, offset, err.message);
    assert_untouched(&err);
    build_expect(c->model, c->count, offset, expected, len);
    for (size_t i = 0; i < len; i++)
        if (found[i] != expected[i])
            fail_test("%zu bytes at %" PRIu64 ": byte %zu is %#x, must be %#x\n", len, offset, i,
                      found[i], expected[i]);
    free(found);
    free(expected);
}

static void compare_reads(struct chain *c, const struct kind *kind)
{
    uint64_t random = 17, size = c->layers[0].spec.size;

    for (int i = 0; i < 200 && size > 0; i++) {
        uint64_t place = kind->places[i % 4], spread = i < 100 ? size : 3000;
        uint64_t offset = (place + (spread > 3000 ? (uint64_t)next_random(&random) << 7
                                                  : next_random(&random)) % spread) % size;
        size_t len = next_random(&random) % (i % 3 ? 3000 : 70000);
        offset -= i % 2 && offset > 1500 ? 1500 : 0;
        read_and_compare(c, offset, len < size - offset ? len : size - offset);
    }
    if (size > 0 && size < 20 * M)
        read_and_compare(c, 0, size);
}

struct walk {
    struct chain *c;
    uint64_t next;
    struct vhdx_extent last;
};

/* An extent must say what the model says; of long ones, at their ends. */
static void check_extent_data(struct walk *w, const struct vhdx_extent *e)
{
    const struct build *b = &w->c->layers[e->depth < w->c->count ? e->depth : 0];
    size_t len = e->length < 4096 ? e->length : 4096;

    for (int end = 0; end < 2; end++) {
        uint64_t skip = end ? e->length - len : 0;
        uint8_t expected[4096];
        build_expect(w->c->model, w->c->count, e->offset + skip, expected, len);
        for (size_t i = 0; i < len && e->kind != VHDX_EXTENT_DATA; i++)
            assert_int_equal(expected[i], 0);
        if (e->kind == VHDX_EXTENT_DATA)
            assert_memory_equal(b->bytes + e->file_offset + skip, expected, len);
    }
}

static int check_extent(const struct vhdx_extent *e, void *opaque)
{
    struct walk *w = opaque;

    assert_true(e->offset == w->next);
    assert_true(e->length > 0);
    assert_true(e->kind <= VHDX_EXTENT_HOLE);
    assert_true(e->depth < w->c->count);
    if (e->kind != VHDX_EXTENT_DATA)
        assert_true(e->file_offset == VHDX_OFFSET_NONE);
    if (w->last.length > 0 && w->last.kind == e->kind && w->last.depth == e->depth)
        assert_true(e->kind == VHDX_EXTENT_DATA &&
                    w->last.file_offset + w->last.length != e->file_offset); /* else: joined */
    check_extent_data(w, e);
    w->next = e->offset + e->length;
    w->last = *e;
    return 0;
}

static void compare_extents(struct chain *c)
{
    uint64_t random = 23, size = c->layers[0].spec.size;

    for (int i = 0; i < 20; i++) {
        uint64_t offset = i == 0 || size == 0 ? 0 : (uint64_t)next_random(&random) * 512 % size;
        uint64_t len = i == 0 || size == 0 ? size : next_random(&random) % (size - offset);
        struct vhdx_error err = blank_error();
        struct walk w = { .c = c, .next = offset };
        assert_int_equal(vhdx_extents(c->v, offset, len, check_extent, &w, &err), 0);
        assert_true(w.next == offset + len);
        assert_untouched(&err);
    }
}

static void kind_reads_as_the_model_says(void **state)
{
    void *folder = NULL;
    struct chain c;

    assert_int_equal(make_folder(&folder), 0);
    open_chain(&c, folder, *state);
    compare_reads(&c, *state);
    compare_extents(&c);
    compare_reads(&c, *state); /* with warm caches */
    close_chain(&c);
    remove_folder(&folder);
}

/* ---- The ends of files ---------------------------------------------------------------------- */

static struct vhdx *open_cut(uint64_t cut, struct build *b)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    build_begin(b, &(struct build_spec){ .size = 3 * M, .layer = 1 });
    build_block(b, 0, FULL);
    build_block(b, 1, FULL);
    build_finish(b);
    b->length -= cut;
    struct vhdx_io io = build_io(b);
    if (vhdx_open_io(&io, 0, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    return v;
}

static void block_cut_by_the_end_of_the_file_ends_in_zeros(void **state)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;
    uint8_t *found = malloc(3 * M), *expected = calloc(1, 3 * M);
    const struct build *model[1];
    struct build b;
    struct vhdx *v = open_cut(M - 1000, &b);

    (void)state;
    model[0] = &b;
    build_expect(model, 1, 0, expected, M + 1000);
    assert_int_equal(vhdx_pread(v, found, 3 * M, 0, NULL), 0);
    assert_memory_equal(found, expected, 3 * M);
    assert_int_equal(vhdx_pread(v, found, 10, M + 995, NULL), 0);
    assert_memory_equal(found, expected + M + 995, 10);
    assert_int_equal(vhdx_get_stats(v, &stats, NULL), 0);
    assert_int_equal(stats.cut_blocks, 1);
    assert_int_equal(stats.lost_blocks, 0);
    assert_int_equal(stats.required_file_size, 6 * M);
    vhdx_close(v);
    build_end(&b);
    free(found);
    free(expected);
}

static void block_behind_the_end_of_the_file_is_lost(void **state)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_error err = blank_error();
    struct build b;
    struct vhdx *v = open_cut(M, &b);
    char buf[10];

    (void)state;
    assert_int_equal(vhdx_pread(v, buf, 10, M - 10, NULL), 0);
    expect_error(vhdx_pread(v, buf, 10, M - 5, &err), &err, VHDX_E_TRUNCATED, 5 * M,
                 "payload block 1|5242880");
    expect_error(vhdx_pread(v, buf, 1, 2 * M - 1, &err), &err, VHDX_E_TRUNCATED, 5 * M,
                 "payload block 1|begins at 5242880");
    assert_int_equal(vhdx_pread(v, buf, 10, 2 * M, NULL), 0);
    assert_int_equal(vhdx_get_stats(v, &stats, NULL), 0);
    assert_int_equal(stats.lost_blocks, 1);
    assert_int_equal(stats.cut_blocks, 0);
    vhdx_close(v);
    build_end(&b);
}

/* Until the replay the file ends before its last block, which then reads as zeros. */
static void file_that_grows_by_its_log_reads_as_zeros(void **state)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;
    uint8_t *found = malloc(2 * M), *zeros = calloc(1, M);
    struct vhdx *v = NULL;
    struct build b;

    (void)state;
    build_begin(&b, &(struct build_spec){ .size = 2 * M, .layer = 1 });
    build_block(&b, 0, FULL);
    build_block(&b, 1, FULL);
    build_through_log(&b, build_bat_sector(&b, 0));
    b.cut = M;
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    assert_int_equal(vhdx_open_io(&io, 0, NULL, &v, NULL), 0);
    for (int i = 0; i < 2; i++) { /* the second time from a cache */
        struct vhdx_error err = blank_error();
        assert_int_equal(vhdx_pread(v, found, 2 * M, 0, &err), 0);
        assert_int_equal(found[5], build_byte(1, 5));
        assert_memory_equal(found + M, zeros, M);
        memset(found, 0xee, 100);
        assert_int_equal(vhdx_pread(v, found, 100, 2 * M - 100, &err), 0);
        assert_memory_equal(found, zeros, 100);
        assert_untouched(&err);
    }
    assert_int_equal(vhdx_get_stats(v, &stats, NULL), 0);
    assert_int_equal(stats.lost_blocks + stats.cut_blocks, 0);
    vhdx_close(v);
    build_end(&b);
    free(found);
    free(zeros);
}

/* ---- Errors --------------------------------------------------------------------------------- */

/* Where in the file, not where in the log. */
static void error_in_the_log_names_its_place_in_the_file(void **state)
{
    const uint64_t entry = BUILD_LOG + M - 8192; /* that of build.c */
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;
    struct build b;

    (void)state;
    build_begin(&b, &(struct build_spec){ .size = M });
    build_through_log(&b, BUILD_LOG); /* a log that is to be replayed over itself */
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    expect_error(vhdx_open_io(&io, 0, NULL, &v, &err), &err, VHDX_E_CORRUPT, entry + 64 + 16,
                 "(custom file): log entry at 0xfe000|file offset|0x100000|outside the log");
    assert_null(v);
    build_end(&b);
}

/* The one page is verified again each time: the error does not depend on what was read before. */
static void error_in_the_bat_comes_each_time(void **state)
{
    struct vhdx *v = NULL;
    struct build b;
    char buf[1];

    (void)state;
    build_begin(&b, &(struct build_spec){ .size = 9 * G });
    build_block(&b, 1, FULL);
    build_block(&b, 8990, FULL); /* in the same page */
    put64(b.bytes + BUILD_BAT + 8 * 9001, 3 * M | FULL); /* over the BAT itself */
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    assert_int_equal(vhdx_open_io(&io, 0, NULL, &v, NULL), 0);
    for (int i = 0; i < 3; i++) {
        struct vhdx_error err = blank_error();
        assert_int_equal(vhdx_pread(v, buf, 1, M, &err), 0);
        assert_untouched(&err);
        expect_error(vhdx_pread(v, buf, 1, 9000 * M, &err), &err, VHDX_E_CORRUPT,
                     BUILD_BAT + 8 * 9001, "(custom file): BAT entry 9001|overlaps");
    }
    vhdx_close(v);
    build_end(&b);
}

/* ---- Nothing is changed --------------------------------------------------------------------- */

static struct stat look_at(const char *path)
{
    const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
    struct stat st;

    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(stat(path, &st), 0);
    return st;
}

static void assert_unchanged(const char *path, const struct stat *before, const struct build *b)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_atim.tv_sec, before->st_atim.tv_sec); /* it is ours: permitted */
    assert_int_equal(st.st_mtim.tv_sec, before->st_mtim.tv_sec);
    assert_int_equal(st.st_ctim.tv_sec, before->st_ctim.tv_sec);
    assert_int_equal(st.st_ctim.tv_nsec, before->st_ctim.tv_nsec);
    assert_file_holds(path, b->bytes, b->length);
}

static void reading_changes_no_file(void **state)
{
    static const struct kind kind = { "", make_dirty_child, { 0 } };
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct stat before[2];
    char hex[VHDX_HASH_TEXT];
    struct chain c;

    open_chain(&c, *state, &kind);
    vhdx_close(c.v);
    for (int i = 0; i < 2; i++)
        before[i] = look_at(in_folder(*state, names[i]));
    assert_int_equal(vhdx_open(in_folder(*state, names[0]), 0, NULL, &c.v, NULL), 0);
    assert_int_equal(vhdx_get_info(c.v, &info, NULL), 0);
    assert_int_equal(info.log_state, VHDX_LOG_DIRTY);
    assert_int_equal(vhdx_get_stats(c.v, &stats, NULL), 0);
    compare_reads(&c, &kind);
    vhdx_hash(c.v, NULL, hex, NULL);
    assert_int_equal(vhdx_convert(c.v, in_folder(*state, "out"), NULL, NULL), 0);
    vhdx_close(c.v);
    c.v = NULL;
    for (int i = 0; i < 2; i++)
        assert_unchanged(in_folder(*state, names[i]), &before[i], &c.layers[i]);
    close_chain(&c);
}

static const struct CMUnitTest folder_tests[] = {
    WITH_FOLDER(reading_changes_no_file),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, folder_tests, sizeof folder_tests);
    s.count = COUNT(folder_tests);
    ADD_ROWS(&s, kind_reads_as_the_model_says, kinds);
    ADD_TEST(&s, block_cut_by_the_end_of_the_file_ends_in_zeros);
    ADD_TEST(&s, block_behind_the_end_of_the_file_is_lost);
    ADD_TEST(&s, file_that_grows_by_its_log_reads_as_zeros);
    ADD_TEST(&s, error_in_the_log_names_its_place_in_the_file);
    ADD_TEST(&s, error_in_the_bat_comes_each_time);
    return run_suite("reading", &s, NULL, NULL);
}
