/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Callbacks and whole-image operations: extents that are stopped, hashes, conversions, progress. */

#include "build.h"

#include "expect.h"
#include "tempdir.h"

#define SIZE (12 * M)
#define NOWHERE VHDX_OFFSET_NONE

/* An image of 12 MiB in the folder, open, and its model. */
struct disk {
    struct build b;
    struct vhdx *v;
    uint8_t *expected;
};

static void open_disk(struct disk *d, struct folder *f)
{
    const struct build *model[1] = { &d->b };

    build_begin(&d->b, &(struct build_spec){ .size = SIZE, .layer = 3 });
    build_block(&d->b, 1, FULL);
    build_block(&d->b, 2, ZERO);
    build_block(&d->b, 4, FULL);
    build_block(&d->b, 5, FULL);
    build_block(&d->b, 11, FULL);
    build_finish(&d->b);
    build_write(&d->b, in_folder(f, "disk.vhdx"));
    assert_int_equal(vhdx_open(in_folder(f, "disk.vhdx"), 0, NULL, &d->v, NULL), 0);
    d->expected = malloc(SIZE);
    build_expect(model, 1, 0, d->expected, SIZE);
}

static void close_disk(struct disk *d)
{
    vhdx_close(d->v);
    build_end(&d->b);
    free(d->expected);
}

/* ---- Extents -------------------------------------------------------------------------------- */

struct stopper {
    int calls, stop_at, result;
    struct vhdx *v;
};

static int stop_some_time(const struct vhdx_extent *e, void *opaque)
{
    struct stopper *s = opaque;

    (void)e;
    return ++s->calls == s->stop_at ? s->result : 0;
}

static void callback_stops_the_walk(void **state)
{
    static const int results[] = { 1, -1, 42, -12345, INT32_MAX, INT32_MIN };
    struct disk d;

    open_disk(&d, *state);
    for (size_t i = 0; i < COUNT(results); i++) {
        for (int at = 1; at <= 7; at++) { /* hole, data, zero, hole, data, hole, data */
            struct vhdx_error err = blank_error();
            struct stopper s = { .stop_at = at, .result = results[i] };
            assert_int_equal(vhdx_extents(d.v, 0, SIZE, stop_some_time, &s, &err), results[i]);
            assert_int_equal(s.calls, at);
            assert_untouched(&err);
        }
    }
    close_disk(&d);
}

static void empty_range_has_no_extents(void **state)
{
    struct stopper s = { 0 };
    struct disk d;

    open_disk(&d, *state);
    assert_int_equal(vhdx_extents(d.v, 0, 0, stop_some_time, &s, NULL), 0);
    assert_int_equal(vhdx_extents(d.v, SIZE, 0, stop_some_time, &s, NULL), 0);
    assert_int_equal(s.calls, 0);
    close_disk(&d);
}

static int read_extent(const struct vhdx_extent *e, void *opaque)
{
    struct disk *d = opaque;
    uint8_t buf[1000];

    assert_int_equal(vhdx_pread(d->v, buf, sizeof buf, e->offset, NULL), 0);
    assert_memory_equal(buf, d->expected + e->offset, sizeof buf);
    return 0;
}

static void callback_may_read(void **state)
{
    struct disk d;

    open_disk(&d, *state);
    assert_int_equal(vhdx_extents(d.v, 0, SIZE, read_extent, &d, NULL), 0);
    close_disk(&d);
}

static int note_extent(const struct vhdx_extent *e, void *opaque)
{
    *(struct vhdx_extent *)opaque = *e;
    return 0;
}

static void extent_ends_with_the_range_asked_for(void **state)
{
    struct vhdx_extent e;
    struct disk d;

    open_disk(&d, *state);
    assert_int_equal(vhdx_extents(d.v, 4 * M + 100, 1000, note_extent, &e, NULL), 0);
    assert_int_equal(e.offset, 4 * M + 100);
    assert_int_equal(e.length, 1000);
    assert_int_equal(e.kind, VHDX_EXTENT_DATA);
    assert_int_equal(e.depth, 0);
    assert_memory_equal(d.b.bytes + e.file_offset, d.expected + e.offset, 1000);
    assert_int_equal(vhdx_extents(d.v, 2 * M + 1, 1, note_extent, &e, NULL), 0);
    assert_int_equal(e.kind, VHDX_EXTENT_ZERO);
    assert_int_equal(e.length, 1);
    assert_int_equal(vhdx_extents(d.v, 7 * M, M, note_extent, &e, NULL), 0);
    assert_int_equal(e.kind, VHDX_EXTENT_HOLE);
    close_disk(&d);
}

/* ---- Progress ------------------------------------------------------------------------------- */

struct meter {
    uint64_t last, total;
    unsigned calls, stop_at; /* 0: never */
    bool backwards;
};

static int note_progress(uint64_t done, uint64_t total, void *opaque)
{
    struct meter *m = opaque;

    m->backwards |= done < m->last || done > total;
    m->last = done;
    m->total = total;
    return ++m->calls == m->stop_at;
}

static void assert_went_through(const struct meter *m)
{
    assert_false(m->backwards);
    assert_int_equal(m->total, SIZE);
    assert_int_equal(m->last, SIZE);
    assert_true(m->calls >= 2);
}

/* ---- Hashes --------------------------------------------------------------------------------- */

static void need_hashes(struct vhdx *v)
{
    char hex[VHDX_HASH_TEXT];

    if (vhdx_hash(v, NULL, hex, NULL) == -VHDX_E_UNSUPPORTED)
        skip();
}

struct hash_row {
    const char *name;
    const char *algorithm;
    const char *hex; /* of 3 MiB of zeros */
};

static const struct hash_row hash_rows[] = {
    { "hash: the default is sha256", NULL,
      "bbd05cf6097ac9b1f89ea29d2542c1b7b67ee46848393895f5a9e43fa1f621e5" },
    { "hash: sha256", "sha256",
      "bbd05cf6097ac9b1f89ea29d2542c1b7b67ee46848393895f5a9e43fa1f621e5" },
    { "hash: sha1", "sha1", "1e5f8def40bb0cb0f7156b9c2bab9efb49cfb699" },
    { "hash: sha512", "sha512",
      "37a33d86aa47380aa21b17b41dfc8d04f464de7e71820900397436d0916e91b3"
      "53f184cefe0ad16ae7902f0128aae786d78f14b58beee0c46d583cf1bfd557b8" },
    { "hash: md5", "md5", "d1dd210d6b1312cb342b56d02bd5e651" },
    { "hash: blake2b", "blake2b",
      "e20ecd9b8813db219aef1bae6be3cfde1c5342c2896d4cf1bae066a7cd1a8b19"
      "e719282fd4045a6c8f67689db73d89fc12e850a76f69eb62825c5fc54ac065e9" },
};

static void hash_row(void **state)
{
    const struct hash_row *row = *state;
    struct vhdx_hash_options options = VHDX_HASH_OPTIONS_INIT;
    struct vhdx_error err = blank_error();
    char hex[VHDX_HASH_TEXT];
    struct vhdx *v = NULL;
    struct build b;

    build_begin(&b, &(struct build_spec){ .size = 3 * M });
    build_block(&b, 1, ZERO);
    memset(b.bytes + build_block(&b, 2, FULL), 0, M); /* zeros that are stored */
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    build_end(&b);
    assert_int_equal(vhdx_open_io(&io, 0, NULL, &v, NULL), 0);
    options.algorithm = row->algorithm;
    int r = vhdx_hash(v, &options, hex, &err);
    vhdx_close(v);
    if (r == -VHDX_E_UNSUPPORTED)
        skip();
    assert_int_equal(r, 0);
    assert_string_equal(hex, row->hex);
    assert_untouched(&err);
}

static void unknown_algorithm_is_refused(void **state)
{
    static const char *const names[] = { "", "SHA256", "sha-256", "sha3", "crc32" };
    struct vhdx_hash_options options = VHDX_HASH_OPTIONS_INIT;
    char hex[VHDX_HASH_TEXT] = "untouched";
    struct disk d;

    open_disk(&d, *state);
    need_hashes(d.v);
    for (size_t i = 0; i < COUNT(names); i++) {
        struct vhdx_error err = blank_error();
        options.algorithm = names[i];
        expect_error(vhdx_hash(d.v, &options, hex, &err), &err, VHDX_E_INVALID, NOWHERE,
                     "algorithm|sha256");
        assert_string_equal(hex, "untouched");
    }
    close_disk(&d);
}

static void hash_reports_and_can_be_stopped(void **state)
{
    struct meter m = { 0 };
    struct vhdx_hash_options options = VHDX_HASH_OPTIONS_INIT;
    char hex[VHDX_HASH_TEXT];
    struct disk d;

    open_disk(&d, *state);
    need_hashes(d.v);
    options.progress = (struct vhdx_progress){ note_progress, &m };
    assert_int_equal(vhdx_hash(d.v, &options, hex, NULL), 0);
    assert_went_through(&m);
    unsigned calls = m.calls;
    for (unsigned at = 1; at <= calls; at++) {
        struct vhdx_error err = blank_error();
        m = (struct meter){ .stop_at = at };
        memcpy(hex, "untouched", 10);
        expect_error(vhdx_hash(d.v, &options, hex, &err), &err, VHDX_E_CANCELLED, NOWHERE,
                     "cancelled");
        assert_int_equal(m.calls, at);
        assert_string_equal(hex, "untouched");
    }
    close_disk(&d);
}

/* ---- Conversions ---------------------------------------------------------------------------- */

static void conversion_writes_the_disk(void **state)
{
    const char *path = in_folder(*state, "out.raw");
    struct vhdx_error err = blank_error();
    struct stat st;
    struct disk d;

    open_disk(&d, *state);
    assert_int_equal(vhdx_convert(d.v, path, NULL, &err), 0);
    assert_untouched(&err);
    assert_file_holds(path, d.expected, SIZE);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 < 6 * M); /* holes and zeros take no space */
    assert_int_equal(count_names(in_folder(*state, "")), 2);
    close_disk(&d);
}

static void conversion_refuses_what_it_does_not_know(void **state)
{
    const char *path = in_folder(*state, "out.raw");
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_error err = blank_error();
    struct disk d;

    open_disk(&d, *state);
    options.format = VHDX_FORMAT_VHD + 1;
    expect_error(vhdx_convert(d.v, path, &options, &err), &err, VHDX_E_INVALID, NOWHERE, "format");
    options.format = VHDX_FORMAT_RAW;
    options.flags = VHDX_CONVERT_NO_CLONE << 1;
    expect_error(vhdx_convert(d.v, path, &options, &err), &err, VHDX_E_INVALID, NOWHERE, "flag");
    assert_int_equal(access(path, F_OK), -1);
    options.flags = VHDX_CONVERT_REPLACE;
    assert_int_equal(vhdx_convert(d.v, path, &options, NULL), 0);
    assert_file_holds(path, d.expected, SIZE);
    close_disk(&d);
}

static void conversion_replaces_only_when_asked(void **state)
{
    const char *path = in_folder(*state, "out.raw");
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_error err = blank_error();
    struct disk d;

    open_disk(&d, *state);
    write_text(path, "precious");
    expect_error(vhdx_convert(d.v, path, NULL, &err), &err, VHDX_E_INVALID, NOWHERE,
                 "out.raw|exists|not empty");
    assert_file_holds(path, "precious", 8);
    options.flags = VHDX_CONVERT_REPLACE;
    assert_int_equal(vhdx_convert(d.v, path, &options, NULL), 0);
    assert_file_holds(path, d.expected, SIZE);
    close_disk(&d);
}

static void conversion_never_replaces_its_input(void **state)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    const char *path = in_folder(*state, "disk.vhdx"), *link_path = in_folder(*state, "link");
    struct disk d;

    open_disk(&d, *state);
    assert_int_equal(symlink("disk.vhdx", link_path), 0);
    options.flags = VHDX_CONVERT_REPLACE;
    for (int i = 0; i < 2; i++) {
        struct vhdx_error err = blank_error();
        expect_error(vhdx_convert(d.v, i ? link_path : path, &options, &err), &err,
                     VHDX_E_INVALID, NOWHERE, "the input itself");
    }
    assert_file_holds(path, d.b.bytes, d.b.length);
    close_disk(&d);
}

static void conversion_reports_and_can_be_stopped(void **state)
{
    const char *path = in_folder(*state, "out.raw");
    struct meter m = { 0 };
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct disk d;

    open_disk(&d, *state);
    options.flags = VHDX_CONVERT_REPLACE;
    options.threads = 1; /* else the number of calls would vary */
    options.progress = (struct vhdx_progress){ note_progress, &m };
    assert_int_equal(vhdx_convert(d.v, path, &options, NULL), 0);
    assert_went_through(&m);
    write_text(path, "precious");
    unsigned calls = m.calls;
    for (unsigned at = 1; at <= calls; at++) {
        struct vhdx_error err = blank_error();
        m = (struct meter){ .stop_at = at };
        expect_error(vhdx_convert(d.v, path, &options, &err), &err, VHDX_E_CANCELLED, NOWHERE,
                     "cancelled");
        assert_file_holds(path, "precious", 8);
        assert_int_equal(count_names(in_folder(*state, "")), 2);
    }
    close_disk(&d);
}

static const struct CMUnitTest folder_tests[] = {
    WITH_FOLDER(callback_stops_the_walk),
    WITH_FOLDER(empty_range_has_no_extents),
    WITH_FOLDER(callback_may_read),
    WITH_FOLDER(extent_ends_with_the_range_asked_for),
    WITH_FOLDER(unknown_algorithm_is_refused),
    WITH_FOLDER(hash_reports_and_can_be_stopped),
    WITH_FOLDER(conversion_writes_the_disk),
    WITH_FOLDER(conversion_refuses_what_it_does_not_know),
    WITH_FOLDER(conversion_replaces_only_when_asked),
    WITH_FOLDER(conversion_never_replaces_its_input),
    WITH_FOLDER(conversion_reports_and_can_be_stopped),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, folder_tests, sizeof folder_tests);
    s.count = COUNT(folder_tests);
    ADD_ROWS(&s, hash_row, hash_rows);
    return run_suite("progress", &s, NULL, NULL);
}
