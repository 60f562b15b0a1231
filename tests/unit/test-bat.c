/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The arithmetic of blocks and chunks, and BAT entries: [MS-VHDX] 2.4, 2.5. */

#include "format/bat.h"

#include <stdio.h>

#include "expect.h"

static struct geometry geometry(uint64_t size, uint64_t block, uint32_t sector, bool has_parent)
{
    struct metadata m = { .block_size = (uint32_t)block, .logical_sector_size = sector,
                          .virtual_size = size, .has_parent = has_parent };
    struct geometry g;

    memset(&g, 0xa5, sizeof g);
    geometry_init(&g, &m);
    return g;
}

/* ---- Counts --------------------------------------------------------------------------------- */

/* The expected figures are worked out by hand from the formulas of [MS-VHDX] 2.5. */
struct count_row {
    const char *name;
    uint64_t size, block;
    uint32_t sector;
    uint64_t ratio, payload, bitmaps, entries, child_entries;
};

static const struct count_row count_rows[] = {
    { "size 0", 0, M, 512, 4096, 0, 0, 0, 0 },
    { "size 0, largest blocks", 0, 256 * M, 4096, 128, 0, 0, 0, 0 },
    { "one sector", 512, M, 512, 4096, 1, 1, 1, 4097 },
    { "one block", M, M, 512, 4096, 1, 1, 1, 4097 },
    { "one block and a sector", M + 512, M, 512, 4096, 2, 1, 2, 4097 },
    { "one chunk less a block", 4095 * M, M, 512, 4096, 4095, 1, 4095, 4097 },
    { "one chunk", 4096 * M, M, 512, 4096, 4096, 1, 4096, 4097 },
    { "one chunk and a sector", 4096 * M + 512, M, 512, 4096, 4097, 2, 4098, 8194 },
    { "two chunks", 8192 * M, M, 512, 4096, 8192, 2, 8193, 8194 },
    { "two chunks and a block", 8193 * M, M, 512, 4096, 8193, 3, 8195, 12291 },
    { "1 TiB in blocks of 32 MiB", T, 32 * M, 512, 128, 32768, 256, 33023, 33024 },
    { "1 TiB in blocks of 2 MiB", T, 2 * M, 512, 2048, 524288, 256, 524543, 524544 },
    { "1 TiB in blocks of 256 MiB", T, 256 * M, 512, 16, 4096, 256, 4351, 4352 },
    { "64 TiB in blocks of 1 MiB", 64 * T, M, 512, 4096, 67108864, 16384, 67125247, 67125248 },
    { "64 TiB in blocks of 256 MiB", 64 * T, 256 * M, 512, 16, 262144, 16384, 278527, 278528 },
    { "64 TiB, sectors of 4096, 1 MiB", 64 * T, M, 4096, 32768, 67108864, 2048, 67110911,
      67110912 },
    { "64 TiB, sectors of 4096, 256 MiB", 64 * T, 256 * M, 4096, 128, 262144, 2048, 264191,
      264192 },
    { "sectors of 4096: one chunk is 32 GiB", 32 * G, M, 4096, 32768, 32768, 1, 32768, 32769 },
    { "sectors of 4096: one chunk and a sector", 32 * G + 4096, M, 4096, 32768, 32769, 2, 32770,
      65538 },
};

static void count_row(void **state)
{
    const struct count_row *row = *state;
    struct geometry g = geometry(row->size, row->block, row->sector, false);
    struct geometry child = geometry(row->size, row->block, row->sector, true);

    assert_true(g.virtual_size == row->size);
    assert_true(UINT64_C(1) << g.block_shift == row->block);
    assert_true(UINT64_C(1) << g.sector_shift == row->sector);
    assert_true(UINT64_C(1) << g.chunk_shift == row->ratio);
    assert_true(g.payload_blocks == row->payload);
    assert_true(g.bitmap_blocks == row->bitmaps);
    assert_true(g.bat_entries == row->entries);
    assert_false(g.has_parent);
    assert_true(child.payload_blocks == row->payload);
    assert_true(child.bitmap_blocks == row->bitmaps);
    assert_true(child.bat_entries == row->child_entries);
    assert_true(child.has_parent);
}

static const uint32_t sector_sizes[] = { 512, 4096 };

static void chunk_is_2_to_the_23_sectors_for_every_block_size(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(sector_sizes); s++) {
        for (uint64_t block = M; block <= 256 * M; block *= 2) {
            struct geometry g = geometry(T, block, sector_sizes[s], false);
            assert_true(block << g.chunk_shift == (uint64_t)sector_sizes[s] << 23);
        }
    }
}

/* ---- Indices -------------------------------------------------------------------------------- */

/* Lists the BAT by hand: the payload blocks of a chunk, its bitmap block, the next chunk's. */
static void assert_indices(const struct geometry *g, uint64_t ratio, uint64_t entries)
{
    uint64_t block = 0, chunk = 0;

    for (uint64_t index = 0; index < entries; index++) {
        uint64_t number = UINT64_MAX;
        bool is_bitmap = bat_index_is_bitmap(g, index, &number);
        if (index == chunk * (ratio + 1) + ratio) {
            assert_true(is_bitmap);
            assert_true(number == chunk);
            assert_true(bat_index_of_bitmap(g, chunk) == index);
            chunk++;
        } else {
            assert_false(is_bitmap);
            assert_true(number == block);
            assert_true(bat_index_of_block(g, block) == index);
            block++;
        }
    }
}

static void indices_interleave_over_chunks(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(sector_sizes); s++) {
        for (uint64_t block = M; block <= 256 * M; block *= 2) {
            struct geometry g = geometry(3 * ((uint64_t)sector_sizes[s] << 23), block,
                                         sector_sizes[s], true);
            uint64_t ratio = ((uint64_t)sector_sizes[s] << 23) / block;
            assert_true(g.bat_entries == 3 * (ratio + 1));
            assert_indices(&g, ratio, g.bat_entries);
        }
    }
}

static void interleaving_holds_without_a_parent(void **state)
{
    struct geometry g = geometry(T, 256 * M, 512, false); /* ratio 16 */

    (void)state;
    assert_true(bat_index_of_block(&g, 15) == 15);
    assert_true(bat_index_of_bitmap(&g, 0) == 16);
    assert_true(bat_index_of_block(&g, 16) == 17);
    assert_true(bat_index_of_block(&g, 31) == 32);
    assert_true(bat_index_of_bitmap(&g, 1) == 33);
    assert_true(bat_index_of_block(&g, 32) == 34);
    assert_indices(&g, 16, g.bat_entries);
}

static void last_entry_is_the_last_payload_block_without_a_parent(void **state)
{
    static const uint64_t sizes[] = { 1 * G, 4 * G, 4 * G + M, 8 * G, 8 * G + 512, 64 * T };

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct geometry g = geometry(sizes[i], M, 512, false);
        assert_true(bat_index_of_block(&g, g.payload_blocks - 1) == g.bat_entries - 1);
    }
}

static void last_entry_is_the_last_bitmap_block_with_a_parent(void **state)
{
    static const uint64_t sizes[] = { 1 * G, 4 * G, 4 * G + M, 8 * G, 8 * G + 512, 64 * T };

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct geometry g = geometry(sizes[i], M, 512, true);
        assert_true(bat_index_of_bitmap(&g, g.bitmap_blocks - 1) == g.bat_entries - 1);
    }
}

static void largest_disk_has_its_last_indices(void **state)
{
    struct geometry g = geometry(64 * T, M, 512, true);
    uint64_t number;

    (void)state;
    assert_true(bat_index_of_block(&g, 67108863) == 67108863 + 16383);
    assert_true(bat_index_of_bitmap(&g, 16383) == 67125247);
    assert_true(bat_index_is_bitmap(&g, 67125247, &number));
    assert_true(number == 16383);
    assert_false(bat_index_is_bitmap(&g, 67125246, &number));
    assert_true(number == 67108863);
}

static void entries_are_called_by_what_they_are(void **state)
{
    struct geometry g = geometry(T, 256 * M, 512, false);
    char name[BAT_NAME_SIZE];

    (void)state;
    bat_entry_name(&g, 15, name);
    assert_string_equal(name, "payload block 15");
    bat_entry_name(&g, 16, name);
    assert_string_equal(name, "sector bitmap block 0");
    bat_entry_name(&g, 17, name);
    assert_string_equal(name, "payload block 16");
    bat_entry_name(&g, 33, name);
    assert_string_equal(name, "sector bitmap block 1");
}

/* ---- Fields --------------------------------------------------------------------------------- */

static void entry_splits_into_state_and_offset(void **state)
{
    (void)state;
    assert_int_equal(bat_state(UINT64_C(0x00000000004fffff)), 7);
    assert_true(bat_file_offset((UINT64_C(5) << 20) | 6) == 5 * M);
    assert_true(bat_file_offset(UINT64_MAX) == UINT64_MAX - M + 1);
    assert_true(bat_file_offset(0xfffff) == 0);
}

static void present_states_are_6_and_7(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < 8; s++)
        assert_int_equal(bat_is_present(M | s), s == 6 || s == 7);
}

static void undefined_and_unmapped_blocks_may_keep_a_place(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < 8; s++) {
        assert_int_equal(bat_is_anchor(9 * M | s), s == 1 || s == 3 || s == 5);
        assert_false(bat_is_anchor(s));
    }
}

/* ---- Verifying entries ---------------------------------------------------------------------- */

#define AT (3 * M + 136)
#define RATIO 16 /* of a disk of 1 TiB in blocks of 256 MiB */

enum where { PAYLOAD, BITMAP };

/* Which states are valid: by type and by where they stand. */
static void states_are_valid_as_the_table_says(void **state)
{
    static const bool valid[2][2][8] = {
        [false] = { [PAYLOAD] = { 1, 1, 1, 1, 0, 1, 1, 0 }, [BITMAP] = { 1, 0, 0, 0, 0, 0, 0, 0 } },
        [true] = { [PAYLOAD] = { 1, 1, 1, 1, 0, 1, 1, 1 }, [BITMAP] = { 1, 0, 0, 0, 0, 0, 1, 0 } },
    };

    (void)state;
    for (int parent = 0; parent < 2; parent++) {
        struct geometry g = geometry(T, 256 * M, 512, parent);
        for (int where = 0; where < 2; where++) {
            uint64_t index = where == BITMAP ? RATIO : RATIO - 1;
            for (uint64_t s = 0; s < 8; s++) {
                struct vhdx_error err = blank_error();
                int r = bat_entry_verify(&g, index, 5 * M | s, AT, &err);
                if (valid[parent][where][s])
                    assert_int_equal(r, 0);
                else
                    expect_error(r, &err, VHDX_E_CORRUPT, AT, "BAT entry 1|block|state|must be");
            }
        }
    }
}

struct entry_row {
    const char *name;
    bool has_parent;
    uint64_t index;
    uint64_t entry;
    const char *words; /* NULL: accepted */
};

static const struct entry_row entry_rows[] = {
    { "entry: untouched", false, 0, 0, NULL },
    { "entry: present right behind the header section", false, 0, M | 6, NULL },
    { "entry: present at the end of the largest file", false, 0, (256 * T - M) | 6, NULL },
    { "entry: partially present", true, 0, 7 * M | 7, NULL },
    { "entry: bitmap present", true, RATIO, 7 * M | 6, NULL },
    { "entry: undefined with its old place", false, 3, 9 * M | 1, NULL },
    { "entry: unmapped with its old place", false, 3, 9 * M | 3, NULL },
    { "entry: unmapped as specification 0.95 numbers it", false, 3, 9 * M | 5, NULL },
    { "entry: zero with an offset", false, 3, 9 * M | 2, NULL },
    { "entry: not present with an offset", false, 3, 9 * M, NULL },
    { "entry: bitmap not present with an offset", false, RATIO, 9 * M, NULL },
    { "entry: the offset of an absent block is not judged", false, 0, 256 * T | 2, NULL },
    { "entry: state 4", false, 5, 9 * M | 4, "BAT entry 5|payload block 5|state|4|0 to 3, 5 or 6" },
    { "entry: state 4 in a child", true, 18, 9 * M | 4,
      "BAT entry 18|payload block 17|state|4|0 to 3 or 5 to 7" },
    { "entry: partially present without a parent", false, 5, 9 * M | 7,
      "BAT entry 5|payload block 5|state|7|0 to 3, 5 or 6" },
    { "entry: bitmap present without a parent", false, RATIO, 9 * M | 6,
      "BAT entry 16|sector bitmap block 0|state|6|must be 0|without a parent" },
    { "entry: bitmap slot with a moved payload entry", false, 2 * RATIO + 1, 9 * M | 2,
      "BAT entry 33|sector bitmap block 1|state|2|must be 0|QEMU" },
    { "entry: bitmap in state 7", true, RATIO, 9 * M | 7,
      "BAT entry 16|sector bitmap block 0|state|7|0 or 6" },
    { "entry: bitmap in state 1", true, RATIO, 1, "sector bitmap block 0|state|1|0 or 6" },
    { "entry: lowest reserved bit", false, 0, 9 * M | 8 | 6,
      "BAT entry 0|payload block 0|reserved bits|0x8|must be 0" },
    { "entry: highest reserved bit", false, 0, 9 * M | 0x80000 | 6,
      "BAT entry 0|payload block 0|reserved bits|0x80000|must be 0" },
    { "entry: reserved bit of an absent block", false, 0, 0x100,
      "BAT entry 0|payload block 0|reserved bits|0x100|must be 0" },
    { "entry: reserved bit of a bitmap", true, RATIO, 9 * M | 0x40 | 6,
      "BAT entry 16|sector bitmap block 0|reserved bits|0x40|must be 0" },
    { "entry: present at 0", false, 2, 6,
      "BAT entry 2|payload block 2|file offset|0|behind the header section" },
    { "entry: partially present at 0", true, 2, 7, "payload block 2|file offset|0|header section" },
    { "entry: bitmap present at 0", true, RATIO, 6,
      "BAT entry 16|sector bitmap block 0|file offset|0|header section" },
    { "entry: present beyond the largest file", false, 2, 256 * T | 6,
      "BAT entry 2|payload block 2|file offset|0x1000000000000|below 256 TiB" },
    { "entry: every bit of the offset", false, 2, (UINT64_MAX << 20) | 6,
      "BAT entry 2|payload block 2|file offset|0xfffffffffff00000|below 256 TiB" },
};

static void entry_row(void **state)
{
    const struct entry_row *row = *state;
    struct geometry g = geometry(T, 256 * M, 512, row->has_parent);
    struct vhdx_error err = blank_error();

    int r = bat_entry_verify(&g, row->index, row->entry, AT, &err);
    if (row->words) {
        expect_error(r, &err, VHDX_E_CORRUPT, AT, row->words);
    } else {
        assert_int_equal(r, 0);
        assert_untouched(&err);
    }
}

int main(void)
{
    static struct suite s;

    ADD_ROWS(&s, count_row, count_rows);
    ADD_TEST(&s, chunk_is_2_to_the_23_sectors_for_every_block_size);
    ADD_TEST(&s, indices_interleave_over_chunks);
    ADD_TEST(&s, interleaving_holds_without_a_parent);
    ADD_TEST(&s, last_entry_is_the_last_payload_block_without_a_parent);
    ADD_TEST(&s, last_entry_is_the_last_bitmap_block_with_a_parent);
    ADD_TEST(&s, largest_disk_has_its_last_indices);
    ADD_TEST(&s, entries_are_called_by_what_they_are);
    ADD_TEST(&s, entry_splits_into_state_and_offset);
    ADD_TEST(&s, present_states_are_6_and_7);
    ADD_TEST(&s, undefined_and_unmapped_blocks_may_keep_a_place);
    ADD_TEST(&s, states_are_valid_as_the_table_says);
    ADD_ROWS(&s, entry_row, entry_rows);
    return run_suite("bat", &s, NULL, NULL);
}
