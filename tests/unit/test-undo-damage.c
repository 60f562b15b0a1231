/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Undo files that nobody wrote so: an error that tells what is wrong, and the image untouched. */

#include "io/undo.h"

#include "undoworld.h"

#define FIRST HEADER                       /* DATA, granule 0 */
#define SECOND (FIRST + RECORD + GRANULE)  /* ZEROS, granules 7 to 9 */
#define SEAL (SECOND + RECORD)
#define WHOLE (SEAL + RECORD)

/* A sealed undo file with these records, and the image as it is then. */
static struct world *begin(void)
{
    struct world *w = world_begin();
    struct vhdx_io io;

    assert_int_equal(undo_begin(&w->image.io, &w->file.io, "disk.vhdx", &io, NULL), 0);
    assert_int_equal(io.pwrite(io.opaque, "one", 3, 0), 0);
    assert_int_equal(io.zero(io.opaque, 7 * GRANULE, 3 * GRANULE), 0);
    assert_int_equal(io.pwrite(io.opaque, "two", 3, 8 * GRANULE), 0);
    assert_int_equal(undo_seal(&io, NULL), 0);
    io_close(&io);
    return w;
}

/* The bytes of its undo file. */
static size_t read_undo_file(const struct world *w, uint8_t *file)
{
    const struct vhdx_io *m = &w->file.memory;

    assert_int_equal(world_size(m), WHOLE);
    assert_int_equal(m->pread(m->opaque, file, WHOLE, 0), 0);
    return WHOLE;
}

static void put_header_crc(uint8_t *file)
{
    put32(file + 12, 0);
    put32(file + 12, test_crc(0, file, HEADER));
}

/* The image must be what it was, whatever is wrong. */
static int apply_unharmed(struct world *w, const uint8_t *file, size_t len, bool force,
                          struct vhdx_error *err)
{
    static uint8_t before[IMAGE_SIZE], after[IMAGE_SIZE];
    const struct vhdx_io *m = &w->image.memory;

    world_set_file(w, file, len);
    assert_int_equal(m->pread(m->opaque, before, IMAGE_SIZE, 0), 0);
    int r = undo_apply(&w->file.io, &w->image.io, force, err);
    if (r < 0) {
        assert_int_equal(world_size(m), IMAGE_SIZE);
        assert_int_equal(m->pread(m->opaque, after, IMAGE_SIZE, 0), 0);
        assert_memory_equal(before, after, IMAGE_SIZE);
    }
    return r;
}

struct row {
    const char *name;
    uint64_t at;       /* of the record; 0: the header */
    unsigned field, width;
    uint64_t value;
    int code;
    uint64_t error_at; /* in the file */
    const char *words;
};

static const struct row rows[] = {
    { "header_signature", 0, 0, 4, 1, VHDX_E_INVALID, 0, "header: signature|vhdxundo" },
    { "header_version", 0, 8, 4, 2, VHDX_E_UNSUPPORTED, 8, "header: version is 2, must be 1" },
    { "header_image_size_huge", 0, 16, 8, 256 * T + 1, VHDX_E_LIMIT, 16,
      "header: image size is 281474976710657, must be at most 281474976710656" },
    { "header_image_size_small", 0, 16, 8, GRANULE, VHDX_E_CORRUPT, SECOND + 16,
      "record: offset is 458752, must be|below the image's size 65536" },
    { "header_name_without_end", 0, HEADER - 1, 1, 'x', VHDX_E_CORRUPT, 48,
      "header: image name has no end, must be at most 4095" },
    { "kind_0", FIRST, 8, 4, 0, VHDX_E_CORRUPT, FIRST + 8, "record: kind is 0, must be 1 to 5" },
    { "kind_6", FIRST, 8, 4, 6, VHDX_E_CORRUPT, FIRST + 8, "record: kind is 6, must be 1 to 5" },
    { "offset_unaligned", FIRST, 16, 8, 512, VHDX_E_CORRUPT, FIRST + 16,
      "record: offset is 512, must be a multiple of 65536" },
    { "offset_behind_the_image", FIRST, 16, 8, 21 * GRANULE, VHDX_E_CORRUPT, FIRST + 16,
      "record: offset is 1376256, must be|below the image's size 1311497" },
    { "offset_at_the_end_of_numbers", FIRST, 16, 8, 0 - GRANULE, VHDX_E_CORRUPT, FIRST + 16,
      "record: offset is 18446744073709486080, must be" },
    { "length_0", FIRST, 24, 8, 0, VHDX_E_CORRUPT, FIRST + 24,
      "record: length is 0, must be 1 to 1311497" },
    { "length_unaligned", FIRST, 24, 8, 1000, VHDX_E_CORRUPT, FIRST + 24,
      "record: length is 1000, must be a multiple of 65536 or end with the image" },
    { "length_that_wraps", FIRST, 24, 8, UINT64_MAX, VHDX_E_CORRUPT, FIRST + 24,
      "record: length is 18446744073709551615, must be 1 to" },
    { "length_beyond_a_piece", FIRST, 24, 8, 17 * GRANULE, VHDX_E_LIMIT, FIRST + 24,
      "record: length is 1114112, must be at most 1048576 for data" },
    { "length_beyond_the_file", FIRST, 24, 8, 2 * GRANULE, VHDX_E_TRUNCATED, FIRST + RECORD,
      "record: 65648 bytes of data are there, must be 131072" },
    { "length_beyond_the_image", SECOND, 24, 8, 14 * GRANULE, VHDX_E_CORRUPT, SECOND + 24,
      "record: length is 917504, must be 1 to 852745, where the image ends" },
    { "data_checksum", FIRST, 12, 4, 0, VHDX_E_CHECKSUM, FIRST + RECORD,
      "record: checksum of the data is|must be 0" },
    { "settled_inside_the_header", FIRST, 32, 8, 0, VHDX_E_CORRUPT, FIRST + 32,
      "record: settled is 0, must be 4144 to 4144" },
    { "settled_behind_itself", FIRST, 32, 8, FIRST + 1, VHDX_E_CORRUPT, FIRST + 32,
      "record: settled is 4145, must be 4144 to 4144" },
    { "identity_of_another_file", FIRST, 40, 8, 1, VHDX_E_CHECKSUM, FIRST,
      "record: checksum is|with the file's signature and identity" },
    { "overlap", SECOND, 16, 8, 0, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
      "record offset is 0, must be at least|another record covers" },
    { "seal_in_the_middle", SECOND, 8, 4, 3, VHDX_E_CORRUPT, SECOND + 24,
      "record: length is 196608, must be 458752 for kind 3" },
    { "undoing_with_a_range", SECOND, 8, 4, 4, VHDX_E_CORRUPT, SECOND + 16,
      "record: offset is 458752, must be at most 0 for kind 4" },
    { "seal_of_a_huge_image", SEAL, 16, 8, 256 * T + 1, VHDX_E_LIMIT, SEAL + 16,
      "record: offset is 281474976710657, must be at most 281474976710656 for kind 3" },
    { "seal_length", SEAL, 24, 8, 5, VHDX_E_CORRUPT, SEAL + 24,
      "record: length is 5, must be 1048576 for kind 3" },
};

static void broken_file_is_refused(void **state)
{
    const struct row *row = *state;
    struct vhdx_error err = blank_error();
    static uint8_t file[FILE_MAX];
    struct world *w = begin();
    size_t len = read_undo_file(w, file);

    put_int(file + row->at + row->field, row->value, row->width);
    if (row->at == 0)
        put_header_crc(file);
    else
        put_crc(file + row->at, RECORD);
    int r = apply_unharmed(w, file, len, true, &err);
    expect_error(r, &err, row->code, row->error_at, row->words);
    world_end(w);
}

static void file_that_the_rows_break_is_good(void **state)
{
    static uint8_t file[FILE_MAX];
    struct world *w = begin();
    size_t len = read_undo_file(w, file);

    (void)state;
    assert_int_equal(apply_unharmed(w, file, len, false, NULL), 0);
    assert_true(world_is_restored(w));
    world_end(w);
}

static void wrong_header_checksum_is_refused(void **state)
{
    struct vhdx_error err = blank_error();
    static uint8_t file[FILE_MAX];
    struct world *w = begin();
    size_t len = read_undo_file(w, file);

    (void)state;
    file[60] ^= 1;
    int r = apply_unharmed(w, file, len, true, &err);
    expect_error(r, &err, VHDX_E_CHECKSUM, 12, "undo file: header: checksum is|must be");
    r = apply_unharmed(w, file, 100, true, &err);
    expect_error(r, &err, VHDX_E_TRUNCATED, 100, "header: file size is 100, must be at least 4144");
    r = apply_unharmed(w, file, 0, true, &err);
    expect_error(r, &err, VHDX_E_INVALID, 0, "not an undo file");
    world_end(w);
}

/* Only the note that restoring has begun can be torn there. */
static void little_may_follow_a_seal(void **state)
{
    struct vhdx_error err = blank_error();
    static uint8_t file[FILE_MAX];
    struct world *w = begin();
    size_t len = read_undo_file(w, file);

    (void)state;
    memset(file + len, 0x5a, 2 * RECORD);
    int r = apply_unharmed(w, file, len + RECORD + 1, true, &err);
    expect_error(r, &err, VHDX_E_CHECKSUM, WHOLE, "record: checksum is");
    memcpy(file + len, file + SECOND, RECORD);
    r = apply_unharmed(w, file, len + RECORD, true, &err);
    expect_error(r, &err, VHDX_E_CORRUPT, WHOLE + 8, "record: kind is 2, must be 4: the file is");
    memset(file + len, 0x5a, RECORD);
    assert_int_equal(apply_unharmed(w, file, len + RECORD, false, NULL), 0);
    assert_true(world_is_restored(w));
    world_end(w);
}

/* In descending order and apart from one another, where inserting one by one would be quadratic. */
static void many_records_cost_what_their_number_says(void **state)
{
    enum { COUNT_OF_RECORDS = 200000 };
    const size_t len = HEADER + (size_t)COUNT_OF_RECORDS * RECORD;
    uint8_t *file = calloc(1, len);
    static uint8_t first[FILE_MAX];
    struct world *w = begin();
    struct undo_info info;
    struct vhdx_io io;

    (void)state;
    read_undo_file(w, first);
    memcpy(file, first, HEADER);
    put64(file + 16, 256 * T);
    put_header_crc(file);
    for (uint64_t i = 0; i < COUNT_OF_RECORDS; i++) {
        uint8_t *r = file + HEADER + i * RECORD;
        memcpy(r, first + SECOND, RECORD);
        put64(r + 16, (COUNT_OF_RECORDS - i) * 2 * GRANULE);
        put64(r + 24, GRANULE);
        put64(r + 32, HEADER);
        put_crc(r, RECORD);
    }
    assert_int_equal(memory_open(file, len, &io, NULL), 0);
    assert_int_equal(undo_read_header(&io, &info, NULL), 0);
    assert_int_equal(info.saved_bytes, COUNT_OF_RECORDS * GRANULE);
    io_close(&io);
    world_end(w);
    free(file);
}

static void random_damage_never_harms(void **state)
{
    static uint8_t good[FILE_MAX], file[FILE_MAX];
    static const uint64_t starts[] = { FIRST, SECOND, SEAL };
    uint64_t random = 21, refused = 0;
    struct world *w = begin();
    size_t len = read_undo_file(w, good);

    (void)state;
    for (int i = 0; i < 1500; i++) {
        memcpy(file, good, len);
        uint8_t *r = file + starts[next_random(&random) % 3];
        for (uint32_t n = next_random(&random) % 3 + 1; n > 0; n--)
            r[8 + next_random(&random) % 32] ^= (uint8_t)(1u << next_random(&random) % 8);
        put_crc(r, RECORD);
        size_t cut = next_random(&random) % 4 ? 0 : next_random(&random) % len;
        refused += apply_unharmed(w, file, len - cut, next_random(&random) % 2, NULL) < 0;
    }
    assert_true(refused > 500);
    world_end(w);
}

int main(void)
{
    static struct suite s;

    ADD_ROWS(&s, broken_file_is_refused, rows);
    ADD_TEST(&s, file_that_the_rows_break_is_good);
    ADD_TEST(&s, wrong_header_checksum_is_refused);
    ADD_TEST(&s, little_may_follow_a_seal);
    ADD_TEST(&s, many_records_cost_what_their_number_says);
    ADD_TEST(&s, random_damage_never_harms);
    return run_suite("undo-damage", &s, NULL, NULL);
}
