/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The region table: [MS-VHDX] 2.2.3. */

#include "format/region.h"

#include "expect.h"

#define TABLE_1 (192 * K)
#define TABLE_2 (256 * K)
#define ENTRY(n) (16 + 32 * (n))
#define BAT "2DC27766-F623-4200-9D64-115E9BFD4A08"
#define METADATA "8B7CA206-4790-4B9A-B8FE-575F050F886E"
#define STRANGER "5caff01d-0000-1111-2222-333333333333"

struct table {
    uint8_t bytes[64 * K];
    struct region_table decoded;
};

static void put_entry(uint8_t *bytes, unsigned index, const char *guid, uint64_t offset,
                      uint32_t length, uint32_t required)
{
    uint8_t *p = bytes + ENTRY(index);

    put_guid(p, guid);
    put64(p + 16, offset);
    put32(p + 24, length);
    put32(p + 28, required);
}

/* BAT at 3 MiB, metadata at 2 MiB, as Windows lays them out. */
static void good_table(uint8_t *bytes)
{
    memset(bytes, 0, 64 * K);
    memcpy(bytes, "regi", 4);
    put32(bytes + 8, 2);
    put_entry(bytes, 0, BAT, 3 * M, M, 1);
    put_entry(bytes, 1, METADATA, 2 * M, M, 1);
    put_crc(bytes, 64 * K);
}

static int make_table(void **state)
{
    struct table *t = malloc(sizeof *t);

    if (!t)
        return -1;
    good_table(t->bytes);
    *state = t;
    return 0;
}

static int free_table(void **state)
{
    free(*state);
    return 0;
}

static void good_table_decodes_to_its_values(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, &err), 0);
    assert_int_equal(t->decoded.count, 2);
    assert_int_equal(t->decoded.bat, 0);
    assert_int_equal(t->decoded.metadata, 1);
    assert_int_equal(t->decoded.regions[0].offset, 3 * M);
    assert_int_equal(t->decoded.regions[0].length, M);
    assert_true(t->decoded.regions[0].required);
    assert_int_equal(t->decoded.regions[1].offset, 2 * M);
    assert_string_equal(region_name(&t->decoded.regions[0]), "BAT region");
    assert_string_equal(region_name(&t->decoded.regions[1]), "metadata region");
    assert_untouched(&err);
}

static void order_of_entries_does_not_matter(void **state)
{
    struct table *t = *state;

    put_entry(t->bytes, 0, METADATA, 5 * M, 2 * M, 1);
    put_entry(t->bytes, 1, BAT, 1 * M, 4 * M, 1);
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 1, NULL, &t->decoded, NULL), 0);
    assert_int_equal(t->decoded.bat, 1);
    assert_int_equal(t->decoded.metadata, 0);
    assert_int_equal(t->decoded.regions[1].length, 4 * M);
}

static void regions_not_marked_as_required_are_known_all_the_same(void **state)
{
    struct table *t = *state;

    put32(t->bytes + ENTRY(0) + 28, 0); /* QEMU writes that */
    put32(t->bytes + ENTRY(1) + 28, 0);
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), 0);
    assert_false(t->decoded.regions[0].required);
}

static void unknown_optional_region_is_kept(void **state)
{
    struct table *t = *state;
    uint8_t guid[16];

    put32(t->bytes + 8, 3);
    put_entry(t->bytes, 2, STRANGER, 7 * M, 2 * M, 0);
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), 0);
    assert_int_equal(t->decoded.count, 3);
    assert_int_equal(t->decoded.regions[2].offset, 7 * M);
    assert_int_equal(t->decoded.regions[2].length, 2 * M);
    assert_string_equal(region_name(&t->decoded.regions[2]), "unknown region");
    put_guid_text_order(guid, STRANGER);
    assert_memory_equal(t->decoded.regions[2].guid.bytes, guid, 16);
}

static void reserved_bytes_of_the_table_are_ignored(void **state)
{
    struct table *t = *state;

    put32(t->bytes + 12, 0xffffffff);
    memset(t->bytes + ENTRY(2), 0xee, 64 * K - ENTRY(2));
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), 0);
    assert_int_equal(t->decoded.count, 2);
}

static void as_many_regions_as_the_format_allows(void **state)
{
    struct table *t = *state;

    put32(t->bytes + 8, 2047);
    for (unsigned i = 2; i < 2047; i++) {
        put_entry(t->bytes, i, STRANGER, (i + 10) * M, M, 0);
        put16(t->bytes + ENTRY(i) + 14, i); /* unique */
    }
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), 0);
    assert_int_equal(t->decoded.count, 2047);
    assert_int_equal(t->decoded.regions[2046].offset, 2056 * M);
}

static void regions_may_touch(void **state)
{
    struct table *t = *state;

    put_entry(t->bytes, 0, BAT, M, 2 * M, 1);
    put_entry(t->bytes, 1, METADATA, 3 * M, M, 1);
    put_crc(t->bytes, 64 * K);
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), 0);
}

static void every_byte_of_the_table_is_covered(void **state)
{
    struct table *t = *state;

    for (size_t i = 4; i < 64 * K; i += i < 128 ? 1 : 997) {
        t->bytes[i] ^= 0x10;
        assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL),
                         -VHDX_E_CHECKSUM);
        t->bytes[i] ^= 0x10;
    }
    t->bytes[64 * K - 1] ^= 1;
    assert_int_equal(region_table_decode(t->bytes, 0, NULL, &t->decoded, NULL), -VHDX_E_CHECKSUM);
}

/* ---- Rules ---------------------------------------------------------------------------------- */

struct rule {
    const char *name;
    unsigned count; /* entries; those from 2 on are optional strangers at 10 MiB, 11 MiB, ... */
    size_t at;
    unsigned width;
    uint64_t value;
    int copy;
    int code;
    uint64_t offset;
    const char *words;
};

static const struct rule rules[] = {
    { "signature", 2, 0, 1, 'R', 0, VHDX_E_CORRUPT, TABLE_1, "region table 1|signature|regi" },
    { "signature of copy 2", 2, 3, 1, 'e', 1, VHDX_E_CORRUPT, TABLE_2,
      "region table 2|signature|regi" },
    { "entry count above 2047", 2, 8, 4, 2048, 0, VHDX_E_CORRUPT, TABLE_1 + 8,
      "region table 1|entry count|2048|at most 2047" },
    { "entry count of copy 2", 2, 8, 4, UINT32_MAX, 1, VHDX_E_CORRUPT, TABLE_2 + 8,
      "region table 2|entry count|4294967295|at most 2047" },
    { "no entries", 2, 8, 4, 0, 0, VHDX_E_CORRUPT, TABLE_1, "region table 1|BAT|missing" },
    { "metadata missing", 2, 8, 4, 1, 0, VHDX_E_CORRUPT, TABLE_1,
      "region table 1|metadata|missing" },
    { "BAT missing", 2, ENTRY(0), 1, 0x67, 1, VHDX_E_UNSUPPORTED, TABLE_2 + ENTRY(0),
      "region table 2, entry 0|2dc27767-f623-4200-9d64-115e9bfd4a08|required|not known" },
    { "offset not whole MiBs", 2, ENTRY(0) + 16, 8, 3 * M + 64 * K, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(0) + 16,
      "region table 1, entry 0|BAT region|file offset|0x310000|multiple of 1 MiB" },
    { "offset in the header section", 2, ENTRY(1) + 16, 8, 0, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(1) + 16,
      "region table 1, entry 1|metadata region|file offset|0|at least 1 MiB" },
    { "offset of copy 2", 2, ENTRY(1) + 16, 8, M / 2, 1, VHDX_E_CORRUPT,
      TABLE_2 + ENTRY(1) + 16, "region table 2, entry 1|file offset|0x80000" },
    { "offset of a stranger", 3, ENTRY(2) + 16, 8, 1, 0, VHDX_E_CORRUPT, TABLE_1 + ENTRY(2) + 16,
      "region table 1, entry 2|unknown region|file offset" },
    { "offset beyond the largest file", 2, ENTRY(0) + 16, 8, 256 * T, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(0) + 16, "entry 0|file offset|0x1000000000000|below 256 TiB" },
    { "offset that wraps with its length", 2, ENTRY(0) + 16, 8, UINT64_MAX - M + 1, 0,
      VHDX_E_CORRUPT, TABLE_1 + ENTRY(0) + 16, "entry 0|file offset|below 256 TiB" },
    { "length not whole MiBs", 2, ENTRY(0) + 24, 4, M + 1, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(0) + 24,
      "region table 1, entry 0|BAT region|length|1048577|multiple of 1 MiB" },
    { "length of copy 2", 2, ENTRY(1) + 24, 4, 4096, 1, VHDX_E_CORRUPT, TABLE_2 + ENTRY(1) + 24,
      "region table 2, entry 1|metadata region|length|4096|multiple of 1 MiB" },
    { "same place", 2, ENTRY(1) + 16, 8, 3 * M, 0, VHDX_E_CORRUPT, TABLE_1 + ENTRY(1) + 16,
      "region table 1, entry 1|metadata region|overlaps|entry 0|BAT region" },
    { "end of one in the start of the next", 2, ENTRY(1) + 24, 4, 2 * M, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(1) + 16, "region table 1, entry 1|0x200000 + 2097152|overlaps|entry 0" },
    { "a stranger over the BAT", 3, ENTRY(2) + 16, 8, 3 * M, 1, VHDX_E_CORRUPT,
      TABLE_2 + ENTRY(2) + 16, "region table 2, entry 2|unknown region|overlaps|entry 0|BAT" },
    { "two strangers over each other", 5, ENTRY(4) + 16, 8, 11 * M, 0, VHDX_E_CORRUPT,
      TABLE_1 + ENTRY(4) + 16, "entry 4|unknown region|overlaps|entry 3" },
    { "required stranger", 3, ENTRY(2) + 28, 4, 1, 0, VHDX_E_UNSUPPORTED, TABLE_1 + ENTRY(2),
      "region table 1, entry 2|5caff01d-0000-1111-2222-333333330002|required|not known" },
    { "required stranger in copy 2", 4, ENTRY(3) + 28, 4, 1, 1, VHDX_E_UNSUPPORTED,
      TABLE_2 + ENTRY(3), "region table 2, entry 3|required|not known" },
};

static void broken_rule_is_named(void **state)
{
    const struct rule *rule = *state;
    struct vhdx_error err = blank_error();
    struct table *t = malloc(sizeof *t);

    good_table(t->bytes);
    put32(t->bytes + 8, rule->count);
    for (unsigned i = 2; i < rule->count; i++) {
        put_entry(t->bytes, i, STRANGER, (8 + i) * M, M, 0);
        t->bytes[ENTRY(i) + 14] = 0;
        t->bytes[ENTRY(i) + 15] = (uint8_t)i;
    }
    put_int(t->bytes + rule->at, rule->value, rule->width);
    put_crc(t->bytes, 64 * K);
    int r = region_table_decode(t->bytes, rule->copy, NULL, &t->decoded, &err);
    expect_error(r, &err, rule->code, rule->offset, rule->words);
    free(t);
}

static void checksum_is_named(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    put32(t->bytes + 4, 0x12345678);
    expect_error(region_table_decode(t->bytes, 0, NULL, &t->decoded, &err), &err, VHDX_E_CHECKSUM,
                 TABLE_1 + 4, "region table 1|checksum|0x12345678|must be 0x");
    err = blank_error();
    expect_error(region_table_decode(t->bytes, 1, NULL, &t->decoded, &err), &err, VHDX_E_CHECKSUM,
                 TABLE_2 + 4, "region table 2|checksum|0x12345678|must be 0x");
}

static void guid_listed_twice_is_named(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    put32(t->bytes + 8, 3);
    put_entry(t->bytes, 2, METADATA, 9 * M, M, 1);
    put_crc(t->bytes, 64 * K);
    expect_error(region_table_decode(t->bytes, 0, NULL, &t->decoded, &err), &err, VHDX_E_CORRUPT,
                 TABLE_1 + ENTRY(2), "region table 1, entry 2|metadata|GUID|entry 1|unique");
}

static void strangers_listed_twice_are_named(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    put32(t->bytes + 8, 4);
    put_entry(t->bytes, 2, STRANGER, 8 * M, M, 0);
    put_entry(t->bytes, 3, STRANGER, 9 * M, M, 0);
    put_crc(t->bytes, 64 * K);
    expect_error(region_table_decode(t->bytes, 0, NULL, &t->decoded, &err), &err, VHDX_E_CORRUPT,
                 TABLE_1 + ENTRY(3), "region table 1, entry 3|unknown region|GUID|entry 2|unique");
}

static const struct CMUnitTest table_tests[] = {
    cmocka_unit_test_setup_teardown(good_table_decodes_to_its_values, make_table, free_table),
    cmocka_unit_test_setup_teardown(order_of_entries_does_not_matter, make_table, free_table),
    cmocka_unit_test_setup_teardown(regions_not_marked_as_required_are_known_all_the_same,
                                    make_table, free_table),
    cmocka_unit_test_setup_teardown(unknown_optional_region_is_kept, make_table, free_table),
    cmocka_unit_test_setup_teardown(reserved_bytes_of_the_table_are_ignored, make_table,
                                    free_table),
    cmocka_unit_test_setup_teardown(as_many_regions_as_the_format_allows, make_table, free_table),
    cmocka_unit_test_setup_teardown(regions_may_touch, make_table, free_table),
    cmocka_unit_test_setup_teardown(every_byte_of_the_table_is_covered, make_table, free_table),
    cmocka_unit_test_setup_teardown(checksum_is_named, make_table, free_table),
    cmocka_unit_test_setup_teardown(guid_listed_twice_is_named, make_table, free_table),
    cmocka_unit_test_setup_teardown(strangers_listed_twice_are_named, make_table, free_table),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, table_tests, sizeof table_tests);
    s.count = COUNT(table_tests);
    ADD_ROWS(&s, broken_rule_is_named, rules);
    return run_suite("region", &s, NULL, NULL);
}
