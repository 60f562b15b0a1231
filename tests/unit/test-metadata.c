/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The metadata table and the known items: [MS-VHDX] 2.6.1, 2.6.2.1 to 2.6.2.5. */

#include "format/metadata.h"

#include "expect.h"

#define REGION (2 * M)   /* where the region lies in the file */
#define LENGTH (1 * M)   /* of the region */
#define ITEMS (64 * K)   /* where items may begin in it */
#define ENTRY(n) (32 + 32 * (n))

#define PARAMETERS "CAA16737-FA36-4D43-B3B6-33F0AA44E76B"
#define SIZE "2FA54224-CD1B-4876-B211-5DBED83BF4B8"
#define DISK_ID "BECA12AB-B2E6-4523-93EF-C309E000C746"
#define LOGICAL "8141BF1D-A96F-4709-BA47-F233A8FAAB5F"
#define PHYSICAL "CDA348C7-445D-4471-9CC9-E9885251C556"
#define LOCATOR "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C"
#define INCOMPLETE "71CC85F0-1B69-4E28-9558-C3BF83AE75D3"
#define STRANGER "10E1AE8A-4B7E-4169-A40F-CD70DE928393"

struct table {
    uint8_t bytes[64 * K];
    struct metadata_table decoded;
};

static void put_entry(uint8_t *bytes, unsigned index, const char *guid, uint32_t offset,
                      uint32_t length, uint32_t flags)
{
    uint8_t *p = bytes + ENTRY(index);

    put_guid(p, guid);
    put32(p + 16, offset);
    put32(p + 20, length);
    put32(p + 24, flags);
}

static void good_table(uint8_t *bytes)
{
    memset(bytes, 0, 64 * K);
    memcpy(bytes, "metadata", 8);
    put16(bytes + 10, 5);
    put_entry(bytes, 0, PARAMETERS, ITEMS, 8, 4);
    put_entry(bytes, 1, SIZE, ITEMS + 8, 8, 6);
    put_entry(bytes, 2, DISK_ID, ITEMS + 16, 16, 6);
    put_entry(bytes, 3, LOGICAL, ITEMS + 32, 4, 6);
    put_entry(bytes, 4, PHYSICAL, ITEMS + 36, 4, 6);
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

static int decode(struct table *t, struct vhdx_error *err)
{
    return metadata_table_decode(t->bytes, REGION, LENGTH, NULL, &t->decoded, err);
}

static const struct metadata_item *known(const struct table *t, enum metadata_known k)
{
    assert_true(t->decoded.known[k] < t->decoded.count);
    return &t->decoded.items[t->decoded.known[k]];
}

/* ---- Good tables ---------------------------------------------------------------------------- */

static void good_table_lists_the_known_items(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    assert_int_equal(decode(t, &err), 0);
    assert_untouched(&err);
    assert_int_equal(t->decoded.count, 5);
    assert_int_equal(known(t, METADATA_FILE_PARAMETERS)->offset, ITEMS);
    assert_int_equal(known(t, METADATA_FILE_PARAMETERS)->length, 8);
    assert_int_equal(known(t, METADATA_FILE_PARAMETERS)->flags, 4);
    assert_int_equal(known(t, METADATA_VIRTUAL_DISK_SIZE)->offset, ITEMS + 8);
    assert_int_equal(known(t, METADATA_VIRTUAL_DISK_ID)->offset, ITEMS + 16);
    assert_int_equal(known(t, METADATA_LOGICAL_SECTOR_SIZE)->offset, ITEMS + 32);
    assert_int_equal(known(t, METADATA_PHYSICAL_SECTOR_SIZE)->offset, ITEMS + 36);
    assert_int_equal(t->decoded.known[METADATA_PARENT_LOCATOR], METADATA_NOT_THERE);
}

static void parent_locator_is_known(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 6);
    put_entry(t->bytes, 5, LOCATOR, ITEMS + 40, 300, 4);
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(known(t, METADATA_PARENT_LOCATOR)->length, 300);
}

static void flags_of_known_items_are_not_insisted_on(void **state)
{
    struct table *t = *state;

    put32(t->bytes + ENTRY(4) + 24, 2); /* early Windows images: physical sector size */
    put32(t->bytes + ENTRY(0) + 24, 0);
    assert_int_equal(decode(t, NULL), 0);
}

static void unknown_items_that_are_not_required_are_kept(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 7);
    put_entry(t->bytes, 5, STRANGER, ITEMS + 4096, 1000, 2);
    put_entry(t->bytes, 6, STRANGER, ITEMS + 8192, 1, 1); /* the same id as a user's item */
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(t->decoded.count, 7);
    assert_int_equal(t->decoded.items[5].offset, ITEMS + 4096);
    assert_int_equal(t->decoded.items[6].offset, ITEMS + 8192);
    assert_int_equal(t->decoded.items[6].flags, 1);
}

static void user_item_with_a_known_id_is_another_item(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 6);
    put_entry(t->bytes, 5, SIZE, ITEMS + 4096, 8, 1);
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(known(t, METADATA_VIRTUAL_DISK_SIZE)->offset, ITEMS + 8);
}

static void empty_items_overlap_nothing(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 7);
    put_entry(t->bytes, 5, STRANGER, 0, 0, 0);
    put_entry(t->bytes, 6, STRANGER, 0, 0, 1);
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(t->decoded.items[0].length, 0);
}

static void item_may_fill_the_region_to_its_end(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 6);
    put_entry(t->bytes, 5, STRANGER, ITEMS + 40, LENGTH - ITEMS - 40, 0);
    assert_int_equal(decode(t, NULL), 0);
}

static void longest_item_is_1_mib(void **state)
{
    struct table *t = *state;

    put16(t->bytes + 10, 6);
    put_entry(t->bytes, 5, STRANGER, ITEMS + 40, M, 0);
    assert_int_equal(metadata_table_decode(t->bytes, REGION, 2 * M, NULL, &t->decoded, NULL), 0);
}

/* Entries from 5 on: strangers of one byte each. */
static void add_strangers(struct table *t, unsigned count, uint32_t flags)
{
    put16(t->bytes + 10, 5 + count);
    for (unsigned i = 0; i < count; i++) {
        put_entry(t->bytes, 5 + i, STRANGER, ITEMS + 100 + i, 1, flags);
        put16(t->bytes + ENTRY(5 + i), i);
    }
}

static void as_many_items_as_the_format_allows(void **state)
{
    struct table *t = *state;

    add_strangers(t, 2042, 0);
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(t->decoded.count, 2047);
}

static void as_many_user_items_as_the_format_allows(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    add_strangers(t, 1024, 1);
    assert_int_equal(decode(t, NULL), 0);
    add_strangers(t, 1025, 1);
    int r = decode(t, &err);
    expect_error(r, &err, VHDX_E_CORRUPT, REGION, "metadata table|user|1025|at most 1024");
}

static void bytes_behind_the_entries_are_ignored(void **state)
{
    struct table *t = *state;

    memset(t->bytes + ENTRY(5), 0xee, 64 * K - ENTRY(5));
    assert_int_equal(decode(t, NULL), 0);
    assert_int_equal(t->decoded.count, 5);
}

/* ---- Rules of the table --------------------------------------------------------------------- */

struct rule {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    int code;
    uint64_t offset;
    const char *words;
};

static const struct rule rules[] = {
    { "signature", 7, 1, 'A', VHDX_E_CORRUPT, REGION, "metadata table|signature|metadata" },
    { "reserved field", 8, 2, 1, VHDX_E_CORRUPT, REGION + 8, "metadata table|reserved|not 0" },
    { "first byte of the second reserved field", 12, 1, 1, VHDX_E_CORRUPT, REGION + 8,
      "metadata table|reserved|not 0" },
    { "last byte of the second reserved field", 31, 1, 0x80, VHDX_E_CORRUPT, REGION + 8,
      "metadata table|reserved|not 0" },
    { "entry count above 2047", 10, 2, 2048, VHDX_E_CORRUPT, REGION + 10,
      "metadata table|entry count|2048|at most 2047" },
    { "flag that is not defined", ENTRY(1) + 24, 4, 6 | 8, VHDX_E_CORRUPT, REGION + ENTRY(1) + 24,
      "metadata table, entry 1|reserved bits|0x8|must be 0" },
    { "highest flag", ENTRY(4) + 24, 4, 0x80000006, VHDX_E_CORRUPT, REGION + ENTRY(4) + 24,
      "metadata table, entry 4|reserved bits|0x80000000|must be 0" },
    { "reserved field of an entry", ENTRY(2) + 28, 4, 0x100, VHDX_E_CORRUPT,
      REGION + ENTRY(2) + 24, "metadata table, entry 2|reserved bits|0x100|must be 0" },
    { "length above 1 MiB", ENTRY(1) + 20, 4, M + 1, VHDX_E_CORRUPT, REGION + ENTRY(1) + 20,
      "metadata table, entry 1|length|1048577|at most 1 MiB" },
    { "length 0 with an offset", ENTRY(1) + 20, 4, 0, VHDX_E_CORRUPT, REGION + ENTRY(1) + 16,
      "metadata table, entry 1|offset|65544|must be 0" },
    { "offset in the table", ENTRY(3) + 16, 4, ITEMS - 1, VHDX_E_CORRUPT,
      REGION + ENTRY(3) + 16, "metadata table, entry 3|offset 65535|64 KiB" },
    { "offset 0 with a length", ENTRY(3) + 16, 4, 0, VHDX_E_CORRUPT, REGION + ENTRY(3) + 16,
      "metadata table, entry 3|offset 0|length 4|64 KiB" },
    { "end one byte behind the region", ENTRY(3) + 16, 4, LENGTH - 3, VHDX_E_CORRUPT,
      REGION + ENTRY(3) + 16, "entry 3|offset 1048573|length 4|region's end|1048576" },
    { "offset behind the region", ENTRY(0) + 16, 4, LENGTH + 8, VHDX_E_CORRUPT,
      REGION + ENTRY(0) + 16, "metadata table, entry 0|offset 1048584|region" },
    { "offset that wraps with its length", ENTRY(0) + 16, 4, 0xfffffffc, VHDX_E_CORRUPT,
      REGION + ENTRY(0) + 16, "metadata table, entry 0|offset 4294967292|region" },
    { "file parameters missing", ENTRY(0) + 24, 4, 1, VHDX_E_CORRUPT, REGION,
      "metadata table|file parameters|missing" },
    { "virtual disk size missing", ENTRY(1) + 24, 4, 1, VHDX_E_CORRUPT, REGION,
      "metadata table|virtual disk size|missing" },
    { "virtual disk id missing", ENTRY(2) + 24, 4, 1, VHDX_E_CORRUPT, REGION,
      "metadata table|virtual disk id|missing" },
    { "logical sector size missing", ENTRY(3) + 24, 4, 1, VHDX_E_CORRUPT, REGION,
      "metadata table|logical sector size|missing" },
    { "physical sector size missing", ENTRY(4) + 24, 4, 1, VHDX_E_CORRUPT, REGION,
      "metadata table|physical sector size|missing" },
    { "no items", 10, 2, 0, VHDX_E_CORRUPT, REGION, "metadata table|missing" },
    { "required user item", ENTRY(4) + 24, 4, 5, VHDX_E_UNSUPPORTED, REGION,
      "metadata table|cda348c7-445d-4471-9cc9-e9885251c556|required|not known" },
    { "required stranger", ENTRY(4), 1, 0xc8, VHDX_E_UNSUPPORTED, REGION,
      "metadata table|cda348c8-445d-4471-9cc9-e9885251c556|required|not known" },
    { "two items with one byte in common", ENTRY(1) + 16, 4, ITEMS + 7, VHDX_E_CORRUPT, REGION,
      "metadata table|2fa54224-cd1b-4876-b211-5dbed83bf4b8|65543|overlaps|65536" },
    { "two items in one place", ENTRY(4) + 16, 4, ITEMS + 32, VHDX_E_CORRUPT, REGION,
      "metadata table|overlaps|65568" },
    { "an item around others", ENTRY(0) + 20, 4, 100, VHDX_E_CORRUPT, REGION,
      "metadata table|overlaps|65536" },
};

static void broken_rule_is_named(void **state)
{
    const struct rule *rule = *state;
    struct vhdx_error err = blank_error();
    struct table *t = malloc(sizeof *t);

    good_table(t->bytes);
    put_int(t->bytes + rule->at, rule->value, rule->width);
    expect_error(decode(t, &err), &err, rule->code, rule->offset, rule->words);
    free(t);
}

struct sixth_row {
    const char *name;
    const char *guid;
    uint32_t flags;
    int code;
    const char *words;
};

static const struct sixth_row sixth_rows[] = {
    { "known item listed twice", SIZE, 6, VHDX_E_CORRUPT,
      "metadata table|2fa54224-cd1b-4876-b211-5dbed83bf4b8|twice|unique" },
    { "known item listed twice with other flags", SIZE, 0, VHDX_E_CORRUPT, "twice|unique" },
    { "creation was never finished", INCOMPLETE, 0, VHDX_E_CORRUPT,
      "metadata table|INCOMPLETE_FILE|never finished" },
    { "creation was never finished, required", INCOMPLETE, 4, VHDX_E_CORRUPT,
      "metadata table|INCOMPLETE_FILE|never finished" },
    { "required item that is not known", STRANGER, 4, VHDX_E_UNSUPPORTED,
      "metadata table|10e1ae8a-4b7e-4169-a40f-cd70de928393|required|not known" },
};

static void sixth_item_is_refused(void **state)
{
    const struct sixth_row *row = *state;
    struct vhdx_error err = blank_error();
    struct table *t = malloc(sizeof *t);

    good_table(t->bytes);
    put16(t->bytes + 10, 6);
    put_entry(t->bytes, 5, row->guid, ITEMS + 40, 8, row->flags);
    expect_error(decode(t, &err), &err, row->code, REGION, row->words);
    free(t);
}

static void user_items_listed_twice_are_refused(void **state)
{
    struct vhdx_error err = blank_error();
    struct table *t = *state;

    put16(t->bytes + 10, 7);
    put_entry(t->bytes, 5, STRANGER, ITEMS + 40, 8, 1);
    put_entry(t->bytes, 6, STRANGER, ITEMS + 48, 8, 3);
    expect_error(decode(t, &err), &err, VHDX_E_CORRUPT, REGION, "metadata table|twice|unique");
}

/* ---- Items ---------------------------------------------------------------------------------- */

#define AT (REGION + ITEMS + 1000)

struct item_row {
    const char *name;
    enum metadata_known item;
    uint32_t length;
    uint64_t value; /* the first 8 bytes */
    int code;       /* 0: accepted */
    uint64_t offset;
    const char *words;
};

#define BLOCK(size, flags) ((uint64_t)(flags) << 32 | (size))

static const struct item_row item_rows[] = {
    { "block size 1 MiB", METADATA_FILE_PARAMETERS, 8, BLOCK(M, 0), 0, 0, NULL },
    { "block size 256 MiB", METADATA_FILE_PARAMETERS, 8, BLOCK(256 * M, 0), 0, 0, NULL },
    { "block size 0", METADATA_FILE_PARAMETERS, 8, BLOCK(0, 0), VHDX_E_CORRUPT, AT,
      "file parameters|block size|0|power of two" },
    { "block size 512 KiB", METADATA_FILE_PARAMETERS, 8, BLOCK(M / 2, 0), VHDX_E_CORRUPT, AT,
      "file parameters|block size|524288|1 MiB to 256 MiB" },
    { "block size 512 MiB", METADATA_FILE_PARAMETERS, 8, BLOCK(512 * M, 0), VHDX_E_CORRUPT, AT,
      "file parameters|block size|536870912|1 MiB to 256 MiB" },
    { "block size 3 MiB", METADATA_FILE_PARAMETERS, 8, BLOCK(3 * M, 0), VHDX_E_CORRUPT, AT,
      "file parameters|block size|3145728|power of two" },
    { "reserved bit of the file parameters", METADATA_FILE_PARAMETERS, 8, BLOCK(M, 4),
      VHDX_E_CORRUPT, AT + 4, "file parameters|reserved bits|0x4|must be 0" },
    { "highest bit of the file parameters", METADATA_FILE_PARAMETERS, 8, BLOCK(M, 0x80000001),
      VHDX_E_CORRUPT, AT + 4, "file parameters|reserved bits|0x80000000|must be 0" },
    { "length of the file parameters", METADATA_FILE_PARAMETERS, 4, BLOCK(M, 0), VHDX_E_CORRUPT,
      AT, "file parameters|length|4|must be 8" },
    { "logical sector size 512", METADATA_LOGICAL_SECTOR_SIZE, 4, 512, 0, 0, NULL },
    { "logical sector size 4096", METADATA_LOGICAL_SECTOR_SIZE, 4, 4096, 0, 0, NULL },
    { "logical sector size 0", METADATA_LOGICAL_SECTOR_SIZE, 4, 0, VHDX_E_CORRUPT, AT,
      "logical sector size|0|512 or 4096" },
    { "logical sector size 1024", METADATA_LOGICAL_SECTOR_SIZE, 4, 1024, VHDX_E_CORRUPT, AT,
      "logical sector size|1024|512 or 4096" },
    { "length of the logical sector size", METADATA_LOGICAL_SECTOR_SIZE, 8, 512, VHDX_E_CORRUPT,
      AT, "logical sector size|length|8|must be 4" },
    { "physical sector size 512", METADATA_PHYSICAL_SECTOR_SIZE, 4, 512, 0, 0, NULL },
    { "physical sector size 4096", METADATA_PHYSICAL_SECTOR_SIZE, 4, 4096, 0, 0, NULL },
    { "physical sector size 8192", METADATA_PHYSICAL_SECTOR_SIZE, 4, 8192, VHDX_E_CORRUPT, AT,
      "physical sector size|8192|512 or 4096" },
    { "length of the physical sector size", METADATA_PHYSICAL_SECTOR_SIZE, 0, 512,
      VHDX_E_CORRUPT, AT, "physical sector size|length|0|must be 4" },
    { "virtual size 0", METADATA_VIRTUAL_DISK_SIZE, 8, 0, 0, 0, NULL },
    { "virtual size 64 TiB", METADATA_VIRTUAL_DISK_SIZE, 8, 64 * T, 0, 0, NULL },
    { "virtual size of one sector", METADATA_VIRTUAL_DISK_SIZE, 8, 4096, 0, 0, NULL },
    { "virtual size above 64 TiB", METADATA_VIRTUAL_DISK_SIZE, 8, 64 * T + 4096, VHDX_E_CORRUPT,
      AT, "virtual disk size|70368744181760|at most 64 TiB" },
    { "virtual size of part of a sector", METADATA_VIRTUAL_DISK_SIZE, 8, M + 512, VHDX_E_CORRUPT,
      AT, "virtual disk size|1049088|multiple of the logical sector size 4096" },
    { "length of the virtual size", METADATA_VIRTUAL_DISK_SIZE, 9, M, VHDX_E_CORRUPT, AT,
      "virtual disk size|length|9|must be 8" },
    { "length of the disk id", METADATA_VIRTUAL_DISK_ID, 15, 0, VHDX_E_CORRUPT, AT,
      "virtual disk id|length|15|must be 16" },
};

static void item_row(void **state)
{
    const struct item_row *row = *state;
    struct metadata m = { .logical_sector_size = 4096 };
    struct vhdx_error err = blank_error();
    uint8_t buf[16] = { 0 };

    put64(buf, row->value);
    int r = metadata_item_decode(row->item, buf, row->length, AT, NULL, &m, &err);
    if (row->code != 0) {
        expect_error(r, &err, row->code, row->offset, row->words);
        return;
    }
    assert_int_equal(r, 0);
    assert_untouched(&err);
    if (row->item == METADATA_FILE_PARAMETERS)
        assert_int_equal(m.block_size, row->value);
    else if (row->item == METADATA_LOGICAL_SECTOR_SIZE)
        assert_int_equal(m.logical_sector_size, row->value);
    else if (row->item == METADATA_PHYSICAL_SECTOR_SIZE)
        assert_int_equal(m.physical_sector_size, row->value);
    else
        assert_true(m.virtual_size == row->value);
}

static void flags_tell_the_type(void **state)
{
    static const struct { uint32_t flags; bool leave, parent; } cases[] = {
        { 0, false, false }, { 1, true, false }, { 2, false, true },
        { 3, false, true }, /* LeaveBlockAllocated is ignored when HasParent is set */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct metadata m = { 0 };
        uint8_t buf[8];
        put64(buf, BLOCK(M, cases[i].flags));
        assert_int_equal(metadata_item_decode(METADATA_FILE_PARAMETERS, buf, 8, AT, NULL, &m, NULL),
                         0);
        assert_int_equal(m.leave_allocated, cases[i].leave);
        assert_int_equal(m.has_parent, cases[i].parent);
    }
}

static void disk_id_is_a_guid(void **state)
{
    struct metadata m = { 0 };
    uint8_t buf[16], text_order[16];

    (void)state;
    put_guid(buf, STRANGER);
    put_guid_text_order(text_order, STRANGER);
    assert_int_equal(metadata_item_decode(METADATA_VIRTUAL_DISK_ID, buf, 16, AT, NULL, &m, NULL),
                     0);
    assert_memory_equal(m.virtual_disk_id.bytes, text_order, 16);
}

static void size_is_measured_in_512_byte_sectors(void **state)
{
    struct metadata m = { .logical_sector_size = 512 };
    struct vhdx_error err = blank_error();
    uint8_t buf[8];

    (void)state;
    put64(buf, M + 512);
    assert_int_equal(metadata_item_decode(METADATA_VIRTUAL_DISK_SIZE, buf, 8, AT, NULL, &m, &err),
                     0);
    put64(buf, M + 256);
    int r = metadata_item_decode(METADATA_VIRTUAL_DISK_SIZE, buf, 8, AT, NULL, &m, &err);
    expect_error(r, &err, VHDX_E_CORRUPT, AT, "virtual disk size|1048832|multiple of|512");
    assert_true(m.virtual_size == M + 512);
}

#define WITH_TABLE(f) cmocka_unit_test_setup_teardown(f, make_table, free_table)

static const struct CMUnitTest table_tests[] = {
    WITH_TABLE(good_table_lists_the_known_items),
    WITH_TABLE(parent_locator_is_known),
    WITH_TABLE(flags_of_known_items_are_not_insisted_on),
    WITH_TABLE(unknown_items_that_are_not_required_are_kept),
    WITH_TABLE(user_item_with_a_known_id_is_another_item),
    WITH_TABLE(empty_items_overlap_nothing),
    WITH_TABLE(item_may_fill_the_region_to_its_end),
    WITH_TABLE(longest_item_is_1_mib),
    WITH_TABLE(as_many_items_as_the_format_allows),
    WITH_TABLE(as_many_user_items_as_the_format_allows),
    WITH_TABLE(bytes_behind_the_entries_are_ignored),
    WITH_TABLE(user_items_listed_twice_are_refused),
};

int main(void)
{
    static struct suite s;

    memcpy(s.tests, table_tests, sizeof table_tests);
    s.count = COUNT(table_tests);
    ADD_ROWS(&s, broken_rule_is_named, rules);
    ADD_ROWS(&s, sixth_item_is_refused, sixth_rows);
    ADD_ROWS(&s, item_row, item_rows);
    ADD_TEST(&s, flags_tell_the_type);
    ADD_TEST(&s, disk_id_is_a_guid);
    ADD_TEST(&s, size_is_measured_in_512_byte_sectors);
    return run_suite("metadata", &s, NULL, NULL);
}
