/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The file identifier and the headers: [MS-VHDX] 2.2.1, 2.2.2. */

#include "format/header.h"
#include "format/ident.h"
#include "util/limits.h"

#include "expect.h"

#define HEADER_1 (64 * K)
#define HEADER_2 (128 * K)
#define FILE_GUID "11111111-2222-3333-4444-555555555555"
#define DATA_GUID "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define LOG_GUID "01234567-89ab-cdef-0123-456789abcdef"

/* ---- The identifier ------------------------------------------------------------------------- */

static void good_ident(uint8_t d[520])
{
    memset(d, 0, 520);
    memcpy(d, "vhdxfile", 8);
    put_text16(d + 8, "A Program 1.0");
}

static int verify_ident(const uint8_t d[520], size_t len, struct vhdx_error *err)
{
    struct ident_disk disk;

    memcpy(&disk, d, sizeof disk);
    return ident_verify(&disk, len, err);
}

static void ident_with_the_signature_is_accepted(void **state)
{
    struct vhdx_error err = blank_error();
    uint8_t d[520];

    (void)state;
    good_ident(d);
    assert_int_equal(verify_ident(d, sizeof d, &err), 0);
    assert_int_equal(verify_ident(d, 8, &err), 0);
    assert_untouched(&err);
}

static void ident_with_any_byte_changed_is_no_vhdx(void **state)
{
    uint8_t d[520];

    (void)state;
    for (int i = 0; i < 8; i++) {
        struct vhdx_error err = blank_error();
        good_ident(d);
        d[i] ^= 0x20;
        expect_error(verify_ident(d, sizeof d, &err), &err, VHDX_E_NOT_VHDX, 0,
                     "file identifier|signature|vhdxfile|not a VHDX");
    }
}

static void ident_of_a_file_too_short_is_no_vhdx(void **state)
{
    uint8_t d[520];

    (void)state;
    good_ident(d);
    for (size_t len = 0; len < 8; len++) {
        struct vhdx_error err = blank_error();
        expect_error(verify_ident(d, len, &err), &err, VHDX_E_NOT_VHDX, 0,
                     "file identifier|bytes long|at least 8|not a VHDX");
    }
}

static void creator_is_text(void **state)
{
    char *text = malloc(CREATOR_TEXT_SIZE);
    struct ident_disk disk;
    uint8_t d[520];

    (void)state;
    good_ident(d);
    memcpy(&disk, d, sizeof disk);
    ident_creator(&disk, text);
    assert_string_equal(text, "A Program 1.0");
    free(text);
}

static void creator_needs_no_nul(void **state)
{
    char *text = malloc(CREATOR_TEXT_SIZE);
    struct ident_disk disk;

    (void)state;
    memset(disk.creator, 0x30, sizeof disk.creator); /* U+3030, three bytes each */
    ident_creator(&disk, text);
    assert_int_equal(strlen(text), 3 * 256);
    free(text);
}

/* ---- Decoding a header ---------------------------------------------------------------------- */

static void good_header(uint8_t d[4096])
{
    memset(d, 0, 4096);
    memcpy(d, "head", 4);
    put64(d + 8, UINT64_C(0x1122334455667788));
    put_guid(d + 16, FILE_GUID);
    put_guid(d + 32, DATA_GUID);
    put_guid(d + 48, LOG_GUID);
    put16(d + 64, 0);
    put16(d + 66, 1);
    put32(d + 68, 3 * M);
    put64(d + 72, 5 * M);
    put_crc(d, 4096);
}

static int decode(const uint8_t d[4096], int copy, struct header *ret, struct vhdx_error *err)
{
    struct header_disk disk;

    memcpy(&disk, d, sizeof disk);
    return header_decode(&disk, copy, NULL, ret, err);
}

static void assert_guid(const struct guid *g, const char *text)
{
    uint8_t bytes[16];

    put_guid_text_order(bytes, text);
    assert_memory_equal(g->bytes, bytes, 16);
}

static void good_header_decodes_to_its_values(void **state)
{
    struct vhdx_error err = blank_error();
    struct header h;
    uint8_t d[4096];

    (void)state;
    good_header(d);
    assert_int_equal(decode(d, 0, &h, &err), 0);
    assert_true(h.sequence_number == UINT64_C(0x1122334455667788));
    assert_guid(&h.file_write_guid, FILE_GUID);
    assert_guid(&h.data_write_guid, DATA_GUID);
    assert_guid(&h.log_guid, LOG_GUID);
    assert_int_equal(h.log_version, 0);
    assert_int_equal(h.log_length, 3 * M);
    assert_int_equal(h.log_offset, 5 * M);
    assert_untouched(&err);
}

static void reserved_bytes_of_a_header_are_ignored(void **state)
{
    struct header h;
    uint8_t d[4096];

    (void)state;
    good_header(d);
    memset(d + 80, 0xff, 4016);
    put_crc(d, 4096);
    assert_int_equal(decode(d, 0, &h, NULL), 0);
}

/* A header that is current but speaks of an impossible log stays current. */
static void decoding_does_not_judge_the_log(void **state)
{
    struct header h;
    uint8_t d[4096];

    (void)state;
    good_header(d);
    put16(d + 64, 7);
    put32(d + 68, 5);
    put64(d + 72, 6);
    put_crc(d, 4096);
    assert_int_equal(decode(d, 0, &h, NULL), 0);
    assert_int_equal(h.log_version, 7);
    assert_int_equal(h.log_length, 5);
    assert_int_equal(h.log_offset, 6);
}

static void every_bit_of_a_header_is_covered(void **state)
{
    uint8_t d[4096];

    (void)state;
    good_header(d);
    for (size_t i = 0; i < 4096; i += i < 80 ? 1 : 61) {
        for (int bit = 0; bit < 8; bit++) {
            struct vhdx_error err = blank_error();
            struct header h, before;
            memset(&h, 0x5a, sizeof h);
            before = h;
            d[i] ^= (uint8_t)(1u << bit);
            int r = decode(d, 1, &h, &err);
            d[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(r, i < 4 ? -VHDX_E_CORRUPT : -VHDX_E_CHECKSUM);
            assert_memory_equal(&h, &before, sizeof h); /* written on success only */
        }
    }
}

struct decode_row {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    bool fix_checksum;
    int copy;
    int code;
    uint64_t offset;
    const char *words;
};

static const struct decode_row decode_rows[] = {
    { "header 1: signature", 0, 4, 0x64616567, true, 0, VHDX_E_CORRUPT, HEADER_1,
      "header 1|signature|head" },
    { "header 2: signature", 3, 1, 'D', true, 1, VHDX_E_CORRUPT, HEADER_2,
      "header 2|signature|head" },
    { "header 1: zeros", 0, 4, 0, false, 0, VHDX_E_CORRUPT, HEADER_1, "header 1|signature" },
    { "header 1: checksum", 4, 4, 0xdeadbeef, false, 0, VHDX_E_CHECKSUM, HEADER_1 + 4,
      "header 1|checksum|0xdeadbeef|must be 0x" },
    { "header 2: checksum", 4, 4, 1, false, 1, VHDX_E_CHECKSUM, HEADER_2 + 4,
      "header 2|checksum|0x00000001|must be 0x" },
    { "header 1: version 0", 66, 2, 0, true, 0, VHDX_E_UNSUPPORTED, HEADER_1 + 66,
      "header 1|version|0|must be 1" },
    { "header 2: version 2", 66, 2, 2, true, 1, VHDX_E_UNSUPPORTED, HEADER_2 + 66,
      "header 2|version|2|must be 1" },
    { "header 1: version 257", 66, 2, 257, true, 0, VHDX_E_UNSUPPORTED, HEADER_1 + 66,
      "version|257|must be 1" },
    { "header 1: a wrong version says nothing where the checksum is wrong", 66, 2, 2, false, 0,
      VHDX_E_CHECKSUM, HEADER_1 + 4, "header 1|checksum" },
};

static void decode_row(void **state)
{
    const struct decode_row *row = *state;
    struct vhdx_error err = blank_error();
    struct header h;
    uint8_t d[4096];

    good_header(d);
    put_int(d + row->at, row->value, row->width);
    if (row->fix_checksum)
        put_crc(d, 4096);
    expect_error(decode(d, row->copy, &h, &err), &err, row->code, row->offset, row->words);
}

/* ---- Which header is current ---------------------------------------------------------------- */

struct choose_row {
    const char *name;
    uint64_t numbers[2];
    bool valid[2];
    bool identical;
    int copy; /* -1: neither */
};

static const struct choose_row choose_rows[] = {
    { "current: the first by number", { 8, 7 }, { true, true }, false, 0 },
    { "current: the second by number", { 7, 8 }, { true, true }, false, 1 },
    { "current: the only valid one, first", { 0, 0 }, { true, false }, false, 0 },
    { "current: the only valid one, second", { 0, 0 }, { false, true }, false, 1 },
    { "current: the valid one though its number is lower, first", { 1, 9 }, { true, false }, false,
      0 },
    { "current: the valid one though its number is lower, second", { 9, 1 }, { false, true },
      false, 1 },
    { "current: the valid one though the numbers are equal", { 4, 4 }, { false, true }, false, 1 },
    { "current: numbers are unsigned", { UINT64_MAX, 1 }, { true, true }, false, 0 },
    { "current: numbers are 64 bits wide", { 1, UINT64_C(1) << 32 }, { true, true }, false, 1 },
    { "current: 0 and 1", { 0, 1 }, { true, true }, false, 1 },
    { "current: identical copies (Disk2vhd)", { 5, 5 }, { true, true }, true, 0 },
    { "current: neither where one number stands on two contents", { 5, 5 }, { true, true }, false,
      -1 },
    { "current: neither, both 0", { 0, 0 }, { true, true }, false, -1 },
};

static void choose_row(void **state)
{
    const struct choose_row *row = *state;
    const struct header h[2] = { { .sequence_number = row->numbers[0] },
                                 { .sequence_number = row->numbers[1] } };
    struct vhdx_error err = blank_error();
    int copy = 77;

    int r = header_choose(h, row->valid, row->identical, &copy, &err);
    if (row->copy < 0) {
        expect_error(r, &err, VHDX_E_CORRUPT, HEADER_2 + 8, "header 2|sequence number|header 1");
        assert_int_equal(copy, 77);
    } else {
        assert_int_equal(r, 0);
        assert_int_equal(copy, row->copy);
        assert_untouched(&err);
    }
}

/* ---- The log that a header names ------------------------------------------------------------ */

struct log_row {
    const char *name;
    bool in_use; /* LogGuid is not zero */
    int copy;
    uint16_t version;
    uint32_t length;
    uint64_t offset;
    int code; /* 0: accepted */
    uint64_t at;
    const char *words;
};

static const struct log_row log_rows[] = {
    { "log: good", true, 0, 0, M, M, 0, 0, NULL },
    { "log: good, far away", true, 0, 0, M, 1 * T, 0, 0, NULL },
    { "log: longest", true, 0, 0, G, M, 0, 0, NULL },
    { "log: version is ignored when nothing is to be replayed", false, 0, 9, M, M, 0, 0, NULL },
    { "log: none at all", false, 0, 0, 0, 0, 0, 0, NULL },
    { "log: version 1", true, 0, 1, M, M, VHDX_E_UNSUPPORTED, HEADER_1 + 64,
      "header 1|log version|1|must be 0" },
    { "log: version of header 2", true, 1, 256, M, M, VHDX_E_UNSUPPORTED, HEADER_2 + 64,
      "header 2|log version|256|must be 0" },
    { "log: length is 0 but in use", true, 0, 0, 0, M, VHDX_E_CORRUPT, HEADER_1 + 68,
      "header 1|log length|0|multiple of 1 MiB|above 0" },
    { "log: length is not whole MiBs", true, 1, 0, M + 4096, M, VHDX_E_CORRUPT, HEADER_2 + 68,
      "header 2|log length|1052672|multiple of 1 MiB" },
    { "log: length is not whole MiBs though unused", false, 0, 0, M - 1, M, VHDX_E_CORRUPT,
      HEADER_1 + 68, "log length|1048575|multiple of 1 MiB" },
    { "log: length is beyond the limit", true, 0, 0, G + M, M, VHDX_E_LIMIT, HEADER_1 + 68,
      "log length|1074790400|at most 1 GiB" },
    { "log: offset is not whole MiBs", true, 0, 0, M, M + 512, VHDX_E_CORRUPT, HEADER_1 + 72,
      "header 1|log offset|0x100200|multiple of 1 MiB" },
    { "log: offset is in the header section", true, 1, 0, M, 0, VHDX_E_CORRUPT, HEADER_2 + 72,
      "header 2|log offset|0|at least 1 MiB" },
    { "log: offset is in the header section though unused", false, 0, 0, M, 0, VHDX_E_CORRUPT,
      HEADER_1 + 72, "log offset|at least 1 MiB" },
    { "log: reaches beyond the largest file", true, 0, 0, 2 * M, 256 * T - M, VHDX_E_CORRUPT,
      HEADER_1 + 72, "log offset|below 256 TiB" },
    { "log: ends with the largest file", true, 0, 0, M, 256 * T - M, 0, 0, NULL },
    { "log: offset and length wrap", true, 0, 0, M, UINT64_MAX - M + 1, VHDX_E_CORRUPT,
      HEADER_1 + 72, "log offset|0xfffffffffff00000|below 256 TiB" },
};

static void log_row(void **state)
{
    const struct log_row *row = *state;
    struct header h = { .log_version = row->version, .log_length = row->length,
                        .log_offset = row->offset };
    struct vhdx_error err = blank_error();

    h.log_guid.bytes[15] = row->in_use;
    int r = header_verify_log(&h, row->copy, NULL, &err);
    if (row->code != 0) {
        expect_error(r, &err, row->code, row->at, row->words);
    } else {
        assert_int_equal(r, 0);
        assert_untouched(&err);
    }
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, ident_with_the_signature_is_accepted);
    ADD_TEST(&s, ident_with_any_byte_changed_is_no_vhdx);
    ADD_TEST(&s, ident_of_a_file_too_short_is_no_vhdx);
    ADD_TEST(&s, creator_is_text);
    ADD_TEST(&s, creator_needs_no_nul);
    ADD_TEST(&s, good_header_decodes_to_its_values);
    ADD_TEST(&s, reserved_bytes_of_a_header_are_ignored);
    ADD_TEST(&s, decoding_does_not_judge_the_log);
    ADD_TEST(&s, every_bit_of_a_header_is_covered);
    ADD_ROWS(&s, decode_row, decode_rows);
    ADD_ROWS(&s, choose_row, choose_rows);
    ADD_ROWS(&s, log_row, log_rows);
    return run_suite("header", &s, NULL, NULL);
}
