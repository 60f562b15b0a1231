/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The public API: arguments, struct sizes, what is written on success and on failure. */

#include "build.h"

#include <errno.h>

#include "expect.h"
#include "tempdir.h"

/* A dynamic image of 3 MiB in memory, open. */
static struct vhdx *open_small(void)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;
    struct build b;

    build_begin(&b, &(struct build_spec){ .size = 3 * M, .layer = 1 });
    build_block(&b, 1, FULL);
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    build_end(&b);
    if (vhdx_open_io(&io, 0, NULL, &v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    return v;
}

static int open_image(void **state)
{
    *state = open_small();
    return 0;
}

static int close_image(void **state)
{
    vhdx_close(*state);
    return 0;
}

#define WITH_IMAGE(f) cmocka_unit_test_setup_teardown(f, open_image, close_image)
#define NOWHERE VHDX_OFFSET_NONE

/* ---- Helpers -------------------------------------------------------------------------------- */

static void codes_have_names(void **state)
{
    static const struct { int code; const char *name; } codes[] = {
        { VHDX_OK, "VHDX_OK" }, { 10, "VHDX_E_SYSTEM" }, { 20, "VHDX_E_NOMEM" },
        { 30, "VHDX_E_INVALID" }, { 40, "VHDX_E_NOT_VHDX" }, { 50, "VHDX_E_CORRUPT" },
        { 60, "VHDX_E_CHECKSUM" }, { 70, "VHDX_E_UNSUPPORTED" }, { 80, "VHDX_E_TRUNCATED" },
        { 90, "VHDX_E_PARENT_MISSING" }, { 100, "VHDX_E_PARENT_MISMATCH" },
        { 110, "VHDX_E_READ_ONLY" }, { 120, "VHDX_E_RANGE" }, { 130, "VHDX_E_NOSPACE" },
        { 140, "VHDX_E_LOCKED" }, { 150, "VHDX_E_LIMIT" }, { 160, "VHDX_E_POISONED" },
        { 170, "VHDX_E_CANCELLED" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(codes); i++) {
        assert_string_equal(vhdx_code_name(codes[i].code), codes[i].name);
        assert_string_equal(vhdx_code_name(-codes[i].code), codes[i].name);
    }
}

static void other_codes_have_no_name(void **state)
{
    static const int codes[] = { 1, -1, 11, 180, -180, 1000000, INT32_MAX, -INT32_MAX };

    (void)state;
    for (size_t i = 0; i < COUNT(codes); i++)
        assert_string_equal(vhdx_code_name(codes[i]), "VHDX_E_?");
}

/* There is no positive number to the least negative one. */
static void least_code_has_no_name(void **state)
{
    (void)state;
    assert_string_equal(vhdx_code_name(INT32_MIN), "VHDX_E_?");
}

static void crc32c_is_that_of_the_format(void **state)
{
    (void)state;
    assert_int_equal(vhdx_crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(vhdx_crc32c(vhdx_crc32c(0, "12345", 5), "6789", 4), 0xE3069283);
    assert_int_equal(vhdx_crc32c(0, NULL, 0), 0);
    assert_int_equal(vhdx_crc32c(0xE3069283, NULL, 0), 0xE3069283);
}

static void version_has_three_numbers(void **state)
{
    int major, minor, patch, end = 0;

    (void)state;
    assert_int_equal(sscanf(vhdx_version(), "%d.%d.%d%n", &major, &minor, &patch, &end), 3);
    assert_int_equal(vhdx_version()[end], '\0');
}

static void closing_nothing_is_fine(void **state)
{
    (void)state;
    vhdx_close(NULL);
}

/* ---- Opening: arguments --------------------------------------------------------------------- */

static void path_and_result_are_required(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = (void *)state;

    expect_error(vhdx_open(NULL, 0, NULL, &v, &err), &err, VHDX_E_INVALID, NOWHERE, "argument");
    assert_ptr_equal(v, state);
    expect_error(vhdx_open("x", 0, NULL, NULL, &err), &err, VHDX_E_INVALID, NOWHERE, "argument");
    assert_int_equal(vhdx_open(NULL, 0, NULL, NULL, NULL), -VHDX_E_INVALID);
}

static void unknown_flags_are_refused(void **state)
{
    const uint32_t known = VHDX_OPEN_RDWR | VHDX_OPEN_NO_PARENT | VHDX_OPEN_NO_LOCK |
    VHDX_OPEN_ANY_PARENT |
                           VHDX_OPEN_PARTIAL_CHAIN;

    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        struct vhdx_error err = blank_error();
        struct vhdx *v = NULL;
        if (known >> bit & 1)
            continue;
        expect_error(vhdx_open("nothing", 1u << bit, NULL, &v, &err), &err, VHDX_E_INVALID,
                     NOWHERE, "flag");
        assert_null(v);
    }
}

static void missing_file_names_its_path(void **state)
{
    const char *path = in_folder(*state, "none.vhdx");
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    expect_error(vhdx_open(path, 0, NULL, &v, &err), &err, VHDX_E_SYSTEM, NOWHERE, path);
    assert_true(strstr(err.message, path) == err.message);
    assert_null(strstr(err.message + 1, path)); /* once */
    assert_int_equal(err.sys_errno, ENOENT);
    assert_null(v);
}

struct options_row {
    const char *name;
    struct vhdx_open_options options;
    const char *words;
};

static const char *const one_null[] = { NULL };
static const char *const one_name[] = { "x" };
static const struct vhdx_path_map no_windows = { NULL, "/x" }, no_local = { "C:\\", NULL },
                                  empty_local = { "C:\\", "" };

#define SIZE sizeof(struct vhdx_open_options)

static const struct options_row options_rows[] = {
    { "options: parents counted but not given", { SIZE, NULL, 1, NULL, 0, NULL, 0 }, "argument" },
    { "options: folders counted but not given", { SIZE, NULL, 0, NULL, 1, NULL, 0 }, "argument" },
    { "options: maps counted but not given", { SIZE, NULL, 0, NULL, 0, NULL, 1 }, "argument" },
    { "options: a parent is NULL", { SIZE, one_null, 1, NULL, 0, NULL, 0 }, "parent" },
    { "options: a folder is NULL", { SIZE, NULL, 0, one_null, 1, NULL, 0 }, "folder" },
    { "options: a map without windows", { SIZE, NULL, 0, NULL, 0, &no_windows, 1 }, "map" },
    { "options: a map without a folder", { SIZE, NULL, 0, NULL, 0, &no_local, 1 }, "map" },
    { "options: a map to nothing", { SIZE, NULL, 0, NULL, 0, &empty_local, 1 }, "map" },
    { "options: struct_size 0", { 0, NULL, 0, NULL, 0, NULL, 0 }, "struct_size" },
    { "options: struct_size less than itself", { 7, NULL, 0, NULL, 0, NULL, 0 }, "struct_size" },
    { "options: struct_size beyond reason", { SIZE_MAX, one_name, 1, NULL, 0, NULL, 0 },
      "struct_size" },
};

static void options_row(void **state)
{
    const struct options_row *row = *state;
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;

    expect_error(vhdx_open("nothing", 0, &row->options, &v, &err), &err, VHDX_E_INVALID, NOWHERE,
                 row->words);
    assert_null(v);
}

static void open_with_options(const void *options, int code)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v = NULL;
    struct build b;

    build_begin(&b, &(struct build_spec){ .size = M });
    build_finish(&b);
    struct vhdx_io io = build_io(&b);
    build_end(&b);
    int r = vhdx_open_io(&io, 0, options, &v, &err);
    if (code)
        expect_error(r, &err, code, NOWHERE, "option|version|not know");
    else
        assert_int_equal(r, 0);
    vhdx_close(v);
}

static void older_options_are_accepted(void **state)
{
    struct vhdx_open_options options = { sizeof(size_t), NULL, 5, NULL, 5, NULL, 5 };

    (void)state;
    open_with_options(&options, 0); /* nothing behind struct_size is looked at */
    options.struct_size = offsetof(struct vhdx_open_options, search_dirs_count);
    options.parents_count = 0;
    open_with_options(&options, 0);
}

static void newer_options_are_accepted_unless_they_ask(void **state)
{
    struct {
        struct vhdx_open_options known;
        uint64_t more[20];
    } newer = { .known = VHDX_OPEN_OPTIONS_INIT };

    (void)state;
    newer.known.struct_size = sizeof newer;
    open_with_options(&newer, 0);
    newer.more[19] = 1;
    open_with_options(&newer, VHDX_E_INVALID);
    newer.more[19] = 0;
    newer.more[0] = UINT64_C(1) << 63;
    open_with_options(&newer, VHDX_E_INVALID);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static void io_file_checks_its_arguments(void **state)
{
    const char *path = in_folder(*state, "a");
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    write_text(path, "abc");
    assert_int_equal(vhdx_io_file(NULL, 0, &io, &err), -VHDX_E_INVALID);
    assert_int_equal(vhdx_io_file(path, 0, NULL, &err), -VHDX_E_INVALID);
    assert_int_equal(vhdx_io_file(path, VHDX_OPEN_NO_PARENT, &io, &err), -VHDX_E_INVALID);
    assert_int_equal(vhdx_io_file(path, 32, &io, NULL), -VHDX_E_INVALID);
    expect_error(vhdx_io_file(in_folder(*state, "none"), 0, &io, &err), &err, VHDX_E_SYSTEM,
                 NOWHERE, "none: ");
    err = blank_error();
    assert_int_equal(vhdx_io_file(path, VHDX_OPEN_NO_LOCK, &io, &err), 0);
    assert_untouched(&err);
    assert_null(io.pwrite);
    io.close(io.opaque);
}

static void io_memory_checks_its_arguments(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx_io io;

    (void)state;
    assert_int_equal(vhdx_io_memory("x", 1, NULL, &err), -VHDX_E_INVALID);
    assert_int_equal(vhdx_io_memory(NULL, 1, &io, &err), -VHDX_E_INVALID);
    err = blank_error();
    assert_int_equal(vhdx_io_memory(NULL, 0, &io, &err), 0);
    assert_untouched(&err);
    io.close(io.opaque);
}

/* ---- Calls on an open image ----------------------------------------------------------------- */

static int nothing_seen(const struct vhdx_extent *e, void *opaque)
{
    (void)e;
    (void)opaque;
    return 0;
}

static void calls_check_their_arguments(void **state)
{
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_link link = VHDX_LINK_INIT;
    char hex[VHDX_HASH_TEXT], buf[1];
    struct vhdx *v = *state;

    assert_int_equal(vhdx_pread(NULL, buf, 1, 0, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_pread(v, NULL, 1, 0, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_extents(NULL, 0, 1, nothing_seen, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_extents(v, 0, 1, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_info(NULL, &info, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_info(v, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_stats(NULL, &stats, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_stats(v, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_link(NULL, 0, &link, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_get_link(v, 0, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_hash(NULL, NULL, hex, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_hash(v, NULL, NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert(NULL, "x", NULL, NULL), -VHDX_E_INVALID);
    assert_int_equal(vhdx_convert(v, NULL, NULL, NULL), -VHDX_E_INVALID);
}

static void calls_leave_the_error_alone_on_success(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_stats stats = VHDX_STATS_INIT;
    struct vhdx_link link = VHDX_LINK_INIT;
    struct vhdx *v = *state;
    char buf[100];

    assert_int_equal(vhdx_pread(v, buf, sizeof buf, M - 50, &err), 0);
    assert_int_equal(vhdx_extents(v, 0, 3 * M, nothing_seen, NULL, &err), 0);
    assert_int_equal(vhdx_get_info(v, &info, &err), 0);
    assert_int_equal(vhdx_get_stats(v, &stats, &err), 0);
    assert_int_equal(vhdx_get_link(v, 0, &link, &err), 0);
    assert_untouched(&err);
}

static void ranges_end_with_the_disk(void **state)
{
    static const struct { uint64_t offset, len; bool good; } cases[] = {
        { 0, 3 * M, true }, { 3 * M - 1, 1, true }, { 3 * M, 0, true }, { 0, 0, true },
        { 3 * M - 1, 2, false }, { 3 * M, 1, false }, { 3 * M + 1, 0, false },
        { 0, 3 * M + 1, false }, { UINT64_MAX, 0, false }, { UINT64_MAX, 1, false },
        { UINT64_MAX - 10, 20, false }, { 1, SIZE_MAX, false },
    };
    char *buf = malloc(3 * M);

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vhdx_error err = blank_error();
        int r = vhdx_pread(*state, buf, cases[i].len, cases[i].offset, &err);
        if (cases[i].good)
            assert_int_equal(r, 0);
        else
            expect_error(r, &err, VHDX_E_RANGE, NOWHERE, "beyond the end|3145728");
        err = blank_error();
        r = vhdx_extents(*state, cases[i].offset, cases[i].len, nothing_seen, NULL, &err);
        if (cases[i].good)
            assert_int_equal(r, 0);
        else
            expect_error(r, &err, VHDX_E_RANGE, NOWHERE, "beyond the end|3145728");
    }
    free(buf);
}

static void reading_nothing_needs_no_buffer(void **state)
{
    struct vhdx_error err = blank_error();

    assert_int_equal(vhdx_pread(*state, NULL, 0, 3 * M, &err), 0);
    assert_untouched(&err);
}

/* ---- Results of other sizes ----------------------------------------------------------------- */

/* What a caller with a struct of size bytes sees of a call. */
typedef int get_fn(struct vhdx *v, void *ret, struct vhdx_error *err);

static int get_info(struct vhdx *v, void *ret, struct vhdx_error *err)
{
    return vhdx_get_info(v, ret, err);
}

static int get_stats(struct vhdx *v, void *ret, struct vhdx_error *err)
{
    return vhdx_get_stats(v, ret, err);
}

static int get_link(struct vhdx *v, void *ret, struct vhdx_error *err)
{
    return vhdx_get_link(v, 0, ret, err);
}

struct result_row {
    const char *name;
    get_fn *get;
    size_t size;
};

static const struct result_row result_rows[] = {
    { "result: struct vhdx_info of any size", get_info, sizeof(struct vhdx_info) },
    { "result: struct vhdx_stats of any size", get_stats, sizeof(struct vhdx_stats) },
    { "result: struct vhdx_link of any size", get_link, sizeof(struct vhdx_link) },
};

static void result_row(void **state)
{
    const struct result_row *row = *state;
    uint64_t full[256], part[256];
    struct vhdx *v = open_small();
    size_t sizes[] = { sizeof(size_t), 16, row->size - 8, row->size, row->size + 8, sizeof part };

    memset(full, 0x5a, sizeof full);
    memcpy(full, &row->size, sizeof row->size);
    assert_int_equal(row->get(v, full, NULL), 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t size = sizes[i], known = size < row->size ? size : row->size;
        memset(part, 0xcc, sizeof part);
        memcpy(part, &size, sizeof size);
        assert_int_equal(row->get(v, part, NULL), 0);
        assert_memory_equal(part, &size, sizeof size);
        if (known >= 24) { /* the first and the last fields; there is padding in between */
            assert_memory_equal((char *)part + 8, (char *)full + 8, 16);
            assert_memory_equal((char *)part + known - 8, (char *)full + known - 8, 8);
        }
        for (size_t b = size; b < sizeof part; b++) /* not ours */
            assert_int_equal(((unsigned char *)part)[b], 0xcc);
    }
    for (size_t size = 0; size < 8; size++) {
        struct vhdx_error err = blank_error();
        memset(part, 0, sizeof part);
        memcpy(part, &size, sizeof size);
        expect_error(row->get(v, part, &err), &err, VHDX_E_INVALID, NOWHERE, "struct_size");
    }
    vhdx_close(v);
}

static void info_tells_what_was_built(void **state)
{
    struct vhdx_info info = VHDX_INFO_INIT;

    assert_int_equal(vhdx_get_info(*state, &info, NULL), 0);
    assert_int_equal(info.type, VHDX_TYPE_DYNAMIC);
    assert_int_equal(info.virtual_size, 3 * M);
    assert_int_equal(info.block_size, M);
    assert_int_equal(info.logical_sector_size, 512);
    assert_int_equal(info.physical_sector_size, 4096);
    assert_int_equal(info.file_size, 5 * M);
    assert_null(info.path);
    assert_string_equal(info.creator, "API tests");
    assert_string_equal(info.virtual_disk_id, "1d1d1d1d-1111-2222-3333-444444444444");
    assert_string_equal(info.file_write_guid, "f0f0f0f0-1111-2222-3333-444444444444");
    assert_string_equal(info.data_write_guid, "d0d0d0d0-1111-2222-3333-444444444444");
    assert_string_equal(info.log_guid, "00000000-0000-0000-0000-000000000000");
    assert_int_equal(info.headers[0].valid && info.headers[1].valid, 1);
    assert_int_equal(info.headers[0].in_use, 0);
    assert_int_equal(info.headers[1].in_use, 1);
    assert_int_equal(info.headers[1].sequence_number, 11);
    assert_int_equal(info.region_tables[0].in_use, 1);
    assert_null(info.region_tables[1].problem);
    assert_int_equal(info.log_state, VHDX_LOG_CLEAN);
    assert_int_equal(info.log_offset, BUILD_LOG);
    assert_int_equal(info.metadata_offset, BUILD_METADATA);
    assert_int_equal(info.bat_offset, BUILD_BAT);
    assert_int_equal(info.bat_entries, 3);
    assert_int_equal(info.chain_length, 1);
    assert_int_equal(info.locator_count, 0);
    assert_int_equal(info.notes_count, 0);
    assert_int_equal(vhdx_size(*state), 3 * M);
    assert_int_equal(vhdx_block_size(*state), M);
    assert_int_equal(vhdx_logical_sector_size(*state), 512);
    assert_int_equal(vhdx_physical_sector_size(*state), 4096);
}

static void stats_count_the_blocks(void **state)
{
    struct vhdx_stats stats = VHDX_STATS_INIT;

    assert_int_equal(vhdx_get_stats(*state, &stats, NULL), 0);
    assert_int_equal(stats.payload_blocks, 3);
    assert_int_equal(stats.not_present, 2);
    assert_int_equal(stats.fully_present, 1);
    assert_int_equal(stats.undefined + stats.zero + stats.unmapped + stats.partially_present, 0);
    assert_int_equal(stats.bitmap_blocks + stats.lost_blocks + stats.cut_blocks, 0);
    assert_int_equal(stats.required_file_size, 5 * M);
}

static void links_end_with_the_chain(void **state)
{
    struct vhdx_link link = VHDX_LINK_INIT;
    static const uint32_t depths[] = { 1, 2, 256, 257, UINT32_MAX };

    assert_int_equal(vhdx_get_link(*state, 0, &link, NULL), 0);
    assert_int_equal(link.status, VHDX_LINK_OK);
    assert_null(link.problem);
    assert_string_equal(link.wanted_guid, "");
    for (size_t i = 0; i < COUNT(depths); i++) {
        struct vhdx_error err = blank_error();
        expect_error(vhdx_get_link(*state, depths[i], &link, &err), &err, VHDX_E_RANGE, NOWHERE,
                     "chain has 1 image");
    }
}

static const struct CMUnitTest state_tests[] = {
    WITH_FOLDER(missing_file_names_its_path),
    WITH_FOLDER(io_file_checks_its_arguments),
    WITH_IMAGE(calls_check_their_arguments),
    WITH_IMAGE(calls_leave_the_error_alone_on_success),
    WITH_IMAGE(ranges_end_with_the_disk),
    WITH_IMAGE(reading_nothing_needs_no_buffer),
    WITH_IMAGE(info_tells_what_was_built),
    WITH_IMAGE(stats_count_the_blocks),
    WITH_IMAGE(links_end_with_the_chain),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, state_tests, sizeof state_tests);
    s.count = COUNT(state_tests);
    ADD_TEST(&s, codes_have_names);
    ADD_TEST(&s, other_codes_have_no_name);
    ADD_TEST(&s, least_code_has_no_name);
    ADD_TEST(&s, crc32c_is_that_of_the_format);
    ADD_TEST(&s, version_has_three_numbers);
    ADD_TEST(&s, closing_nothing_is_fine);
    ADD_TEST(&s, path_and_result_are_required);
    ADD_TEST(&s, unknown_flags_are_refused);
    ADD_ROWS(&s, options_row, options_rows);
    ADD_TEST(&s, older_options_are_accepted);
    ADD_TEST(&s, newer_options_are_accepted_unless_they_ask);
    ADD_TEST(&s, io_memory_checks_its_arguments);
    ADD_ROWS(&s, result_row, result_rows);
    return run_suite("api", &s, NULL, NULL);
}
