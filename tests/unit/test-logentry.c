/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Log entries, their descriptors and data sectors: [MS-VHDX] 2.3.1. */

#include "format/logentry.h"

#include "expect.h"

#define LOG_GUID "01234567-89ab-cdef-0123-456789abcdef"
#define LOG_AT (7 * M)
#define LOG_LENGTH (1 * M)
#define ENTRY_AT 0x5000u       /* where the entry stands in the log */
#define AT (LOG_AT + ENTRY_AT) /* and in the file */
#define DESCRIPTOR_AT (AT + 64 + 3 * 32)
#define DATA_AT (AT + 4096)
#define SEQUENCE UINT64_C(0x1122334455667788)

static struct guid log_guid(void)
{
    struct guid g;

    put_guid_text_order(g.bytes, LOG_GUID);
    return g;
}

/* ---- The header ----------------------------------------------------------------------------- */

static void good_header(uint8_t d[64])
{
    memset(d, 0, 64);
    memcpy(d, "loge", 4);
    put32(d + 4, 0xcafe);
    put32(d + 8, 3 * 4096);
    put32(d + 12, 0x2000);
    put64(d + 16, SEQUENCE);
    put32(d + 24, 5);
    put_guid(d + 32, LOG_GUID);
    put64(d + 48, 7 * M);
    put64(d + 56, 9 * M);
}

static int decode(const uint8_t d[64], struct log_entry *ret, struct vhdx_error *err)
{
    struct guid guid = log_guid();
    struct log_header_disk disk;

    memcpy(&disk, d, sizeof disk);
    return log_header_decode(&disk, ENTRY_AT, LOG_AT, LOG_LENGTH, &guid, ret, err);
}

static void good_header_decodes_to_its_values(void **state)
{
    struct vhdx_error err = blank_error();
    struct log_entry e;
    uint8_t d[64];

    (void)state;
    good_header(d);
    assert_int_equal(decode(d, &e, &err), 0);
    assert_int_equal(e.offset, ENTRY_AT);
    assert_int_equal(e.at, AT);
    assert_int_equal(e.checksum, 0xcafe);
    assert_int_equal(e.length, 3 * 4096);
    assert_int_equal(e.tail, 0x2000);
    assert_int_equal(e.descriptor_count, 5);
    assert_true(e.sequence_number == SEQUENCE);
    assert_true(e.flushed_file_offset == 7 * M);
    assert_true(e.last_file_offset == 9 * M);
    assert_untouched(&err);
}

static void descriptor_sectors_are_126_then_128(void **state)
{
    (void)state;
    assert_int_equal(log_descriptor_sectors(0), 1);
    assert_int_equal(log_descriptor_sectors(1), 1);
    assert_int_equal(log_descriptor_sectors(126), 1);
    assert_int_equal(log_descriptor_sectors(127), 2);
    assert_int_equal(log_descriptor_sectors(126 + 128), 2);
    assert_int_equal(log_descriptor_sectors(126 + 129), 3);
    assert_int_equal(log_descriptor_sectors(126 + 10 * 128), 11);
    assert_int_equal(log_descriptor_sectors(UINT32_MAX), 0x2000001);
}

static void checksum_takes_its_own_field_as_zero(void **state)
{
    struct log_header_disk disk;
    uint8_t d[64];

    (void)state;
    good_header(d);
    memcpy(&disk, d, sizeof disk);
    put32(d + 4, 0);
    assert_int_equal(log_header_checksum(&disk), test_crc(0, d, 64));
}

struct header_row {
    const char *name;
    size_t at;
    unsigned width;
    uint64_t value;
    int code; /* 0: accepted */
    uint64_t offset;
    const char *words;
};

static const struct header_row header_rows[] = {
    { "header: signature", 0, 1, 'L', VHDX_E_CORRUPT, AT, "log entry at 0x5000|signature|loge" },
    { "header: zeros", 0, 4, 0, VHDX_E_CORRUPT, AT, "log entry at 0x5000|signature" },
    { "header: another log's GUID", 47, 1, 0, VHDX_E_CORRUPT, AT + 32,
      "log entry at 0x5000|log GUID" },
    { "header: first byte of the GUID", 32, 1, 0, VHDX_E_CORRUPT, AT + 32, "log GUID" },
    { "header: sequence number 0", 16, 8, 0, VHDX_E_CORRUPT, AT + 16,
      "log entry at 0x5000|sequence number|0|above 0" },
    { "header: sequence number 1", 16, 8, 1, 0, 0, NULL },
    { "header: greatest sequence number", 16, 8, UINT64_MAX, 0, 0, NULL },
    { "header: length 0", 8, 4, 0, VHDX_E_CORRUPT, AT + 8,
      "log entry at 0x5000|entry length|0|multiple of 4 KiB" },
    { "header: length not whole sectors", 8, 4, 4096 + 512, VHDX_E_CORRUPT, AT + 8,
      "log entry at 0x5000|entry length|4608|multiple of 4 KiB" },
    { "header: as long as the log", 8, 4, LOG_LENGTH, 0, 0, NULL },
    { "header: longer than the log", 8, 4, LOG_LENGTH + 4096, VHDX_E_CORRUPT, AT + 8,
      "log entry at 0x5000|entry length|1052672|at most the log's 1048576" },
    { "header: greatest length", 8, 4, 0xfffff000, VHDX_E_CORRUPT, AT + 8, "entry length" },
    { "header: tail not on a sector", 12, 4, 0x2200, VHDX_E_CORRUPT, AT + 12,
      "log entry at 0x5000|tail|0x2200|multiple of 4 KiB" },
    { "header: tail on the last sector", 12, 4, LOG_LENGTH - 4096, 0, 0, NULL },
    { "header: tail behind the log", 12, 4, LOG_LENGTH, VHDX_E_CORRUPT, AT + 12,
      "log entry at 0x5000|tail|0x100000|below the log's length" },
    { "header: no descriptors", 24, 4, 0, 0, 0, NULL },
    { "header: as many descriptors as there is room for", 24, 4, 126 + 2 * 128, 0, 0, NULL },
    { "header: one descriptor too many", 24, 4, 126 + 2 * 128 + 1, VHDX_E_CORRUPT, AT + 24,
      "log entry at 0x5000|descriptor count|383|entry's length 12288" },
    { "header: greatest descriptor count", 24, 4, UINT32_MAX, VHDX_E_CORRUPT, AT + 24,
      "log entry at 0x5000|descriptor count|4294967295" },
    { "header: descriptor count that is few modulo 2^27", 24, 4, 0x08000001, VHDX_E_CORRUPT,
      AT + 24, "descriptor count|134217729" },
    { "header: file sizes need not be whole MiBs", 48, 8, 7 * M + 1, 0, 0, NULL },
};

static void header_row(void **state)
{
    const struct header_row *row = *state;
    struct vhdx_error err = blank_error();
    struct log_entry e;
    uint8_t d[64];

    good_header(d);
    put_int(d + row->at, row->value, row->width);
    int r = decode(d, &e, &err);
    if (row->code != 0)
        expect_error(r, &err, row->code, row->offset, row->words);
    else
        assert_int_equal(r, 0);
}

/* ---- Descriptors ---------------------------------------------------------------------------- */

static const struct log_entry entry = { .offset = ENTRY_AT, .at = AT, .length = 3 * 4096,
                                        .sequence_number = SEQUENCE };

static void good_data_descriptor(uint8_t d[32])
{
    memcpy(d, "desc", 4);
    put32(d + 4, 0x99aabbcc);
    put64(d + 8, UINT64_C(0x1020304050607080));
    put64(d + 16, 3 * M + 4096);
    put64(d + 24, SEQUENCE);
}

static void good_zero_descriptor(uint8_t d[32])
{
    memcpy(d, "zero", 4);
    put32(d + 4, 0);
    put64(d + 8, 5 * G);
    put64(d + 16, 3 * M + 4096);
    put64(d + 24, SEQUENCE);
}

static int decode_descriptor(const uint8_t d[32], struct log_descriptor *ret,
                             struct vhdx_error *err)
{
    struct log_descriptor_disk disk;

    memcpy(&disk, d, sizeof disk);
    return log_descriptor_decode(&disk, &entry, 3, DESCRIPTOR_AT, ret, err);
}

static void data_descriptor_decodes_to_its_values(void **state)
{
    struct vhdx_error err = blank_error();
    struct log_descriptor x;
    uint8_t d[32];

    (void)state;
    good_data_descriptor(d);
    assert_int_equal(decode_descriptor(d, &x, &err), 0);
    assert_false(x.is_zero);
    assert_true(x.file_offset == 3 * M + 4096);
    assert_int_equal(x.length, 4096);
    assert_memory_equal(x.leading_bytes.bytes, d + 8, 8);
    assert_memory_equal(x.trailing_bytes.bytes, d + 4, 4);
    assert_untouched(&err);
}

static void zero_descriptor_may_be_gigabytes_long(void **state)
{
    struct vhdx_error err = blank_error();
    struct log_descriptor x;
    uint8_t d[32];

    (void)state;
    good_zero_descriptor(d);
    assert_int_equal(decode_descriptor(d, &x, &err), 0);
    assert_true(x.is_zero);
    assert_true(x.file_offset == 3 * M + 4096);
    assert_true(x.length == 5 * G);
    assert_untouched(&err);
}

struct descriptor_row {
    const char *name;
    bool zero;
    size_t at;
    unsigned width;
    uint64_t value;
    const char *words;
};

static const struct descriptor_row descriptor_rows[] = {
    { "descriptor: signature", false, 3, 1, 'C', "log entry at 0x5000|signature|desc|zero" },
    { "descriptor: signature of a data sector", false, 0, 4, 0x61746164, "signature" },
    { "descriptor: sequence number", false, 24, 8, SEQUENCE + 1,
      "log entry at 0x5000|sequence number|must be the entry's 1234605616436508552" },
    { "descriptor: high half of the sequence number", false, 28, 4, 0, "sequence number" },
    { "descriptor: low half of the sequence number", false, 24, 4, 0, "sequence number" },
    { "descriptor: zero descriptor's sequence number", true, 24, 8, 1,
      "log entry at 0x5000|sequence number|1|entry's" },
    { "descriptor: file offset", false, 16, 8, 3 * M + 512,
      "log entry at 0x5000|file offset|0x300200|multiple of 4 KiB" },
    { "descriptor: zero descriptor's file offset", true, 16, 8, 3 * M + 2048,
      "log entry at 0x5000|file offset|0x300800|multiple of 4 KiB" },
    { "descriptor: zero length", true, 8, 8, 4095,
      "log entry at 0x5000|zero length|0xfff|multiple of 4 KiB" },
};

static void descriptor_row(void **state)
{
    const struct descriptor_row *row = *state;
    struct vhdx_error err = blank_error();
    struct log_descriptor x;
    uint8_t d[32];

    if (row->zero)
        good_zero_descriptor(d);
    else
        good_data_descriptor(d);
    put_int(d + row->at, row->value, row->width);
    /* Of a signature the whole descriptor is wrong, of the rest the field. */
    uint64_t field = row->at < 4 ? 0 : row->at & ~UINT64_C(7);
    expect_error(decode_descriptor(d, &x, &err), &err, VHDX_E_CORRUPT, DESCRIPTOR_AT + field,
                 row->words);
}

/* ---- Data sectors --------------------------------------------------------------------------- */

static void good_data(uint8_t d[4096])
{
    memset(d, 0x77, 4096);
    memcpy(d, "data", 4);
    put32(d + 4, SEQUENCE >> 32);
    put32(d + 4092, (uint32_t)SEQUENCE);
}

static int verify_data(const uint8_t d[4096], struct vhdx_error *err)
{
    struct log_data_disk disk;

    memcpy(&disk, d, sizeof disk);
    return log_data_verify(&disk, &entry, DATA_AT, err);
}

static void data_sector_of_the_entry_is_accepted(void **state)
{
    struct vhdx_error err = blank_error();
    uint8_t d[4096];

    (void)state;
    good_data(d);
    assert_int_equal(verify_data(d, &err), 0);
    assert_untouched(&err);
}

static void data_sector_of_another_entry_is_refused(void **state)
{
    static const size_t places[] = { 0, 1, 2, 3, 4, 5, 6, 7, 4092, 4093, 4094, 4095 };
    uint8_t d[4096];

    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        struct vhdx_error err = blank_error();
        good_data(d);
        d[places[i]] ^= 1;
        expect_error(verify_data(d, &err), &err, VHDX_E_CORRUPT, DATA_AT,
                     places[i] < 4 ? "log entry at 0x5000|data sector|signature|data"
                                   : "log entry at 0x5000|data sector|sequence number|entry's");
    }
}

/* ---- What makes the image corrupt ----------------------------------------------------------- */

static void entry_of_a_sequence_is_verified_once_more(void **state)
{
    struct vhdx_error err = blank_error();
    struct log_entry e = entry;

    (void)state;
    e.last_file_offset = 256 * T;
    assert_int_equal(log_entry_verify(&e, &err), 0);
    assert_untouched(&err);
    e.last_file_offset = 256 * T + M;
    expect_error(log_entry_verify(&e, &err), &err, VHDX_E_CORRUPT, AT + 56,
                 "log entry at 0x5000|last file offset|0x1000000100000|at most 256 TiB");
    e = entry;
    e.reserved = 0x10;
    expect_error(log_entry_verify(&e, &err), &err, VHDX_E_CORRUPT, AT + 28,
                 "log entry at 0x5000|reserved|0x10|must be 0");
}

/* The log lies at 8 MiB and is 2 MiB long. */
struct target_row {
    const char *name;
    bool zero;
    uint64_t offset, length;
    uint32_t trailing;
    const char *words; /* NULL: accepted */
};

static const struct target_row target_rows[] = {
    { "target: lowest", false, 192 * K, 4096, 0, NULL },
    { "target: headers", false, 188 * K, 4096, 0,
      "log entry at 0x5000|file offset|0x2f000|at least 192 KiB" },
    { "target: identifier", true, 0, 4096, 0, "file offset|0|at least 192 KiB" },
    { "target: zeros that begin in the headers", true, 64 * K, 10 * M, 0,
      "file offset|0x10000|at least 192 KiB" },
    { "target: last sector before the log", false, 8 * M - 4096, 4096, 0, NULL },
    { "target: first sector of the log", false, 8 * M, 4096, 0,
      "log entry at 0x5000|file offset|0x800000|outside the log" },
    { "target: last sector of the log", false, 10 * M - 4096, 4096, 0,
      "file offset|0x9ff000|outside the log" },
    { "target: first sector behind the log", false, 10 * M, 4096, 0, NULL },
    { "target: zeros up to the log", true, 7 * M, M, 0, NULL },
    { "target: zeros into the log", true, 7 * M, M + 4096, 0, "outside the log" },
    { "target: zeros over the log", true, 1 * M, 100 * M, 0, "outside the log" },
    { "target: zeros out of the log", true, 9 * M, 100 * M, 0, "outside the log" },
    { "target: zeros behind the log", true, 10 * M, 100 * G, 0, NULL },
    { "target: no zeros at all, in the log", true, 9 * M, 0, 0, NULL },
    { "target: end of the largest file", false, 256 * T - 4096, 4096, 0, NULL },
    { "target: behind the largest file", false, 256 * T, 4096, 0,
      "log entry at 0x5000|file range|0x1000000000000|below 256 TiB" },
    { "target: zeros past the largest file", true, 256 * T - 4096, 8192, 0, "below 256 TiB" },
    { "target: zeros that wrap", true, 20 * M, UINT64_MAX - 4095, 0, "below 256 TiB" },
    { "target: offset that wraps", false, UINT64_MAX - 4095, 4096, 0, "below 256 TiB" },
    { "target: trailing bytes of data", false, 20 * M, 4096, 1, NULL },
    { "target: reserved field of zeros", true, 20 * M, 4096, 0x200,
      "log entry at 0x5000|descriptor 3|reserved|0x200|must be 0" },
};

static void target_row(void **state)
{
    const struct target_row *row = *state;
    struct log_descriptor d = { .is_zero = row->zero, .file_offset = row->offset,
                                .length = row->length, .index = 3, .at = DESCRIPTOR_AT };
    uint64_t field = row->zero && row->trailing ? 4 : 16;
    struct vhdx_error err = blank_error();

    put32(d.trailing_bytes.bytes, row->trailing);
    int r = log_descriptor_verify(&d, &entry, 8 * M, 2 * M, &err);
    if (row->words) {
        expect_error(r, &err, VHDX_E_CORRUPT, DESCRIPTOR_AT + field, row->words);
    } else {
        assert_int_equal(r, 0);
        assert_untouched(&err);
    }
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, good_header_decodes_to_its_values);
    ADD_TEST(&s, descriptor_sectors_are_126_then_128);
    ADD_TEST(&s, checksum_takes_its_own_field_as_zero);
    ADD_ROWS(&s, header_row, header_rows);
    ADD_TEST(&s, data_descriptor_decodes_to_its_values);
    ADD_TEST(&s, zero_descriptor_may_be_gigabytes_long);
    ADD_ROWS(&s, descriptor_row, descriptor_rows);
    ADD_TEST(&s, data_sector_of_the_entry_is_accepted);
    ADD_TEST(&s, data_sector_of_another_entry_is_refused);
    ADD_TEST(&s, entry_of_a_sequence_is_verified_once_more);
    ADD_ROWS(&s, target_row, target_rows);
    return run_suite("logentry", &s, NULL, NULL);
}
