/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Rules between structures, which no verifier of one structure can see: each broken by itself in an
 * image that is otherwise sound. And what is sound though it looks odd.
 */

#include "build.h"

#include "expect.h"

#define ITEMS (BUILD_METADATA + 64 * K)
#define HEADER(copy) (64 * K * ((copy) + 1))
#define TABLE(copy) (192 * K + 64 * K * (copy))

static void fix_headers(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put_crc(b->bytes + HEADER(copy), 4096);
}

static void fix_tables(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put_crc(b->bytes + TABLE(copy), 64 * K);
}

/* ---- Ways to break an image ----------------------------------------------------------------- */

static void has_parent_without_locator(struct build *b)
{
    put32(b->bytes + ITEMS + 4, 2);
}

static void locator_without_has_parent(struct build *b)
{
    put32(b->bytes + ITEMS + 4, 0);
}

static void linkage_that_is_no_guid(struct build *b)
{
    uint8_t *item = b->bytes + BUILD_METADATA + 128 * K;
    size_t value = get_int(item + 20 + 4, 4);

    item[value + 2] = 'x'; /* behind the brace */
}

static void bat_too_small(struct build *b)
{
    put64(b->bytes + ITEMS + 8, 64 * T);
}

static void metadata_region_of_no_length(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put32(b->bytes + TABLE(copy) + 48 + 24, 0);
    fix_tables(b);
}

static void log_over_the_bat(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put64(b->bytes + HEADER(copy) + 72, BUILD_BAT);
    fix_headers(b);
}

static void log_of_odd_length(struct build *b)
{
    put32(b->bytes + HEADER(1) + 68, M + 4096); /* the current header */
    fix_headers(b);
}

static void log_version_with_a_log(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++) {
        put16(b->bytes + HEADER(copy) + 64, 1);
        put_guid(b->bytes + HEADER(copy) + 48, "99999999-1111-2222-3333-444444444444");
    }
    fix_headers(b);
}

static void log_without_entries(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put_guid(b->bytes + HEADER(copy) + 48, "99999999-1111-2222-3333-444444444444");
    b->bytes[BUILD_LOG + 12345] = 1;
    fix_headers(b);
}

static void both_headers_bad(struct build *b)
{
    b->bytes[HEADER(0) + 100] ^= 1;
    b->bytes[HEADER(1)] ^= 1;
}

static void both_headers_of_one_number(struct build *b)
{
    put64(b->bytes + HEADER(0) + 8, 11);
    put_guid(b->bytes + HEADER(0) + 16, "99999999-1111-2222-3333-444444444444");
    fix_headers(b);
}

static void both_tables_bad(struct build *b)
{
    b->bytes[TABLE(0) + 100] ^= 1;
    b->bytes[TABLE(1)] ^= 1;
}

/* The second copy does not know the region; the first, which is intact, is not to be got round. */
static void required_stranger_in_one_table(struct build *b)
{
    uint8_t *p = b->bytes + TABLE(0);

    put32(p + 8, 3);
    put_guid(p + 80, "99999999-1111-2222-3333-444444444444");
    put64(p + 80 + 16, 100 * M);
    put32(p + 80 + 24, M);
    put32(p + 80 + 28, 1);
    fix_tables(b);
}

static void block_in_the_place_of_another(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 2, (4 * M) | FULL);
}

static void block_in_the_log(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 2, BUILD_LOG | FULL);
}

static void block_in_the_metadata(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 2, BUILD_METADATA | FULL);
}

static void block_of_two_mib_into_another(struct build *b)
{
    put32(b->bytes + ITEMS, 2 * M);
    put64(b->bytes + BUILD_BAT + 8 * 1, (5 * M) | FULL); /* the first takes 4 and 5 */
}

static void partial_without_bitmap(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 2, (20 * M) | PARTIAL);
}

static void bitmap_in_the_place_of_a_block(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 4096, (4 * M) | FULL);
}

static void state_of_no_meaning(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 3, 4);
}

struct broken {
    const char *name;
    bool child;
    void (*breaks)(struct build *b);
    int code;
    uint64_t offset;
    const char *words;
};

static const struct broken broken_images[] = {
    { "HasParent without a parent locator", false, has_parent_without_locator, VHDX_E_CORRUPT,
      BUILD_METADATA, "metadata table|parent locator|missing|HasParent" },
    { "parent locator without HasParent", true, locator_without_has_parent, VHDX_E_CORRUPT,
      BUILD_METADATA, "metadata table|parent locator|HasParent" },
    { "linkage that is no GUID", true, linkage_that_is_no_guid, VHDX_E_CORRUPT,
      BUILD_METADATA + 128 * K, "parent locator|parent_linkage|GUID" },
    { "BAT too small for the disk", false, bat_too_small, VHDX_E_CORRUPT, BUILD_BAT,
      "BAT region|length is 1048576|at least 537001976|67125247 entries" },
    { "metadata region of no length", false, metadata_region_of_no_length, VHDX_E_CORRUPT,
      BUILD_METADATA, "metadata region|length is 0" },
    { "log over the BAT", false, log_over_the_bat, VHDX_E_CORRUPT, BUILD_BAT,
      "BAT region|overlaps the log" },
    { "log of odd length in the current header", false, log_of_odd_length, VHDX_E_CORRUPT,
      HEADER(1) + 68, "header 2|log length|multiple of 1 MiB" },
    { "log of another version", false, log_version_with_a_log, VHDX_E_UNSUPPORTED,
      HEADER(1) + 64, "header 2|log version|1|must be 0" },
    { "log GUID without entries", false, log_without_entries, VHDX_E_CORRUPT, BUILD_LOG,
      "log|no valid sequence|header 2" },
    { "both headers bad", false, both_headers_bad, VHDX_E_CORRUPT, HEADER(1),
      "header 1|checksum|header 2|signature" },
    { "both headers of one number", false, both_headers_of_one_number, VHDX_E_CORRUPT,
      HEADER(1) + 8, "header 2|sequence number is 11|header 1" },
    { "both region tables bad", false, both_tables_bad, VHDX_E_CORRUPT, TABLE(1),
      "region table 1|checksum|region table 2|signature" },
    { "required stranger in the first region table", false, required_stranger_in_one_table,
      VHDX_E_UNSUPPORTED, TABLE(0) + 80, "region table 1, entry 2|99999999|required" },
    { "block in the place of another", false, block_in_the_place_of_another, VHDX_E_CORRUPT,
      BUILD_BAT + 8 * 2, "BAT entry 2|payload block 2|0x400000|overlaps" },
    { "block in the log", false, block_in_the_log, VHDX_E_CORRUPT, BUILD_BAT + 8 * 2,
      "BAT entry 2|payload block 2|0x100000|overlaps the log" },
    { "block in the metadata", false, block_in_the_metadata, VHDX_E_CORRUPT, BUILD_BAT + 8 * 2,
      "BAT entry 2|payload block 2|0x200000|overlaps" },
    { "large block that reaches into another", false, block_of_two_mib_into_another,
      VHDX_E_CORRUPT, BUILD_BAT + 8, "BAT entry 1|payload block 1|0x500000|overlaps" },
    { "partially present block without a bitmap", true, partial_without_bitmap, VHDX_E_CORRUPT,
      BUILD_BAT + 8 * 2, "BAT entry 2|payload block 2|state is 7|sector bitmap block 0|not" },
    { "partially present block without a parent", false, partial_without_bitmap, VHDX_E_CORRUPT,
      BUILD_BAT + 8 * 2, "BAT entry 2|payload block 2|state is 7" },
    { "bitmap in the place of a block", true, bitmap_in_the_place_of_a_block, VHDX_E_CORRUPT,
      BUILD_BAT + 8 * 4096, "BAT entry 4096|sector bitmap block 0|0x400000|overlaps" },
    { "state of no meaning", false, state_of_no_meaning, VHDX_E_CORRUPT, BUILD_BAT + 8 * 3,
      "BAT entry 3|payload block 3|state is 4" },
};

/* 4 MiB; block 0 is at 4 MiB of the file, block 3 behind it. */
static void build_image(struct build *b, bool child)
{
    build_begin(b, &(struct build_spec){
        .size = 4 * M, .layer = 1, .type = child ? VHDX_TYPE_DIFFERENCING : VHDX_TYPE_DYNAMIC,
        .parent_guid = "b0b0b0b0-1111-2222-3333-444444444444" });
    build_block(b, 0, FULL);
    build_block(b, 3, FULL);
    build_finish(b);
}

static int open_built(struct build *b, struct vhdx **ret, struct vhdx_error *err)
{
    struct vhdx_io io = build_io(b);

    *ret = NULL;
    return vhdx_open_io(&io, VHDX_OPEN_NO_PARENT, NULL, ret, err);
}

static void broken_image_is_refused(void **state)
{
    const struct broken *row = *state;
    struct vhdx_error err = blank_error();
    struct vhdx *v;
    struct build b;

    build_image(&b, row->child);
    assert_int_equal(open_built(&b, &v, NULL), 0); /* sound until it is broken */
    vhdx_close(v);
    row->breaks(&b);
    int r = open_built(&b, &v, &err);
    expect_error(r, &err, row->code, row->offset, row->words);
    assert_true(strstr(err.message, "(custom file): ") == err.message);
    assert_null(strstr(err.message + 1, "(custom file): "));
    assert_null(v);
    build_end(&b);
}

/* A BAT too large to be read on opening is missed on opening all the same. */
static void bat_behind_the_end_of_the_file_is_refused(void **state)
{
    struct vhdx_error err = blank_error();
    struct vhdx *v;
    struct build b;

    (void)state;
    build_begin(&b, &(struct build_spec){ .size = 9 * G });
    build_finish(&b);
    b.length = BUILD_BAT + 9218 * 8;
    assert_int_equal(open_built(&b, &v, NULL), 0); /* all of its entries, no more */
    vhdx_close(v);
    b.length--;
    int r = open_built(&b, &v, &err);
    expect_error(r, &err, VHDX_E_TRUNCATED, BUILD_BAT, "BAT region|3219471|must reach to 3219472");
    build_end(&b);
}

/* ---- Odd, but sound ------------------------------------------------------------------------- */

static void first_header_bad(struct build *b)
{
    b->bytes[HEADER(0) + 200] ^= 1;
}

static void second_header_bad(struct build *b)
{
    b->bytes[HEADER(1) + 200] ^= 1;
}

static void identical_headers(struct build *b)
{
    memcpy(b->bytes + HEADER(0), b->bytes + HEADER(1), 4096);
}

static void first_table_bad(struct build *b)
{
    b->bytes[TABLE(0) + 200] ^= 1;
}

static void second_table_bad(struct build *b)
{
    b->bytes[TABLE(1) + 200] ^= 1;
}

static void log_of_zeros(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put_guid(b->bytes + HEADER(copy) + 48, "99999999-1111-2222-3333-444444444444");
    fix_headers(b);
}

static void old_log_version_without_a_log(struct build *b)
{
    for (unsigned copy = 0; copy < 2; copy++)
        put16(b->bytes + HEADER(copy) + 64, 1);
    fix_headers(b);
}

static void anchor_over_another_block(struct build *b)
{
    put64(b->bytes + BUILD_BAT + 8 * 2, (4 * M) | UNMAPPED); /* shows nothing */
}

struct odd {
    const char *name;
    void (*makes)(struct build *b);
    unsigned header, table; /* in use */
    unsigned log_state;
    const char *problem;    /* NULL: none; of the other copy */
};

static const struct odd odd_images[] = {
    { "first header bad", first_header_bad, 1, 0, VHDX_LOG_CLEAN, "header 1|checksum" },
    { "second header bad", second_header_bad, 0, 0, VHDX_LOG_CLEAN, "header 2|checksum" },
    { "identical headers", identical_headers, 0, 0, VHDX_LOG_CLEAN, NULL },
    { "first region table bad", first_table_bad, 1, 1, VHDX_LOG_CLEAN, "region table 1|checksum" },
    { "second region table bad", second_table_bad, 1, 0, VHDX_LOG_CLEAN,
      "region table 2|checksum" },
    { "log GUID over a log of zeros", log_of_zeros, 1, 0, VHDX_LOG_EMPTY, NULL },
    { "log version that does not matter", old_log_version_without_a_log, 1, 0, VHDX_LOG_CLEAN,
      NULL },
    { "anchor over another block", anchor_over_another_block, 1, 0, VHDX_LOG_CLEAN, NULL },
};

static void odd_image_is_read(void **state)
{
    const struct odd *row = *state;
    struct vhdx_info info = VHDX_INFO_INIT;
    struct vhdx_error err = blank_error();
    const char *problem = NULL;
    struct vhdx *v;
    struct build b;
    uint8_t byte;

    build_image(&b, false);
    row->makes(&b);
    if (open_built(&b, &v, &err) < 0)
        fail_test("%s\n", err.message);
    assert_untouched(&err);
    assert_int_equal(vhdx_get_info(v, &info, NULL), 0);
    assert_int_equal(info.headers[row->header].in_use, 1);
    assert_int_equal(info.headers[1 - row->header].in_use, 0);
    assert_int_equal(info.region_tables[row->table].in_use, 1);
    assert_int_equal(info.region_tables[1 - row->table].in_use, 0);
    assert_int_equal(info.log_state, row->log_state);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(info.headers[i].valid, info.headers[i].problem == NULL);
        assert_int_equal(info.region_tables[i].valid, info.region_tables[i].problem == NULL);
        problem = info.headers[i].problem ? info.headers[i].problem : problem;
        problem = info.region_tables[i].problem ? info.region_tables[i].problem : problem;
    }
    assert_int_equal(problem != NULL, row->problem != NULL);
    assert_true(!problem || has_words(problem, row->problem));
    if (problem || row->log_state == VHDX_LOG_EMPTY)
        assert_true(info.notes_count > 0);
    assert_int_equal(vhdx_pread(v, &byte, 1, 77, NULL), 0);
    assert_int_equal(byte, build_byte(1, 77));
    vhdx_close(v);
    build_end(&b);
}

int main(void)
{
    static struct suite s;

    ADD_ROWS(&s, broken_image_is_refused, broken_images);
    ADD_TEST(&s, bat_behind_the_end_of_the_file_is_refused);
    ADD_ROWS(&s, odd_image_is_read, odd_images);
    return run_suite("refused", &s, NULL, NULL);
}
