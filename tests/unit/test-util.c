/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The small helpers: bits, endian, guid, utf16, iszero. */

#include "util/bits.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/guid.h"
#include "util/iszero.h"
#include "util/utf16.h"

#include "expect.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* ---- bits ----------------------------------------------------------------------------------- */

static void powers_of_two_are_told_from_others(void **state)
{
    (void)state;
    assert_false(is_pow2(0));
    for (unsigned i = 0; i < 64; i++) {
        uint64_t x = UINT64_C(1) << i;
        assert_true(is_pow2(x));
        assert_int_equal(log2_exact(x), i);
        assert_int_equal(is_pow2(x + 1), x == 1); /* 2 */
        assert_int_equal(is_pow2(x | 1), x == 1);
    }
    assert_false(is_pow2(UINT64_MAX));
}

static void alignment_rounds_and_tells(void **state)
{
    (void)state;
    assert_true(is_aligned(0, 4096));
    assert_true(is_aligned(8192, 4096));
    assert_false(is_aligned(8191, 4096));
    assert_true(is_aligned(UINT64_MAX, 1));
    assert_int_equal(align_down(8191, 4096), 4096);
    assert_int_equal(align_down(8192, 4096), 8192);
    assert_int_equal(align_up(0, 4096), 0);
    assert_int_equal(align_up(1, 4096), 4096);
    assert_int_equal(align_up(4096, 4096), 4096);
    assert_true(align_down(UINT64_MAX, MIB) == UINT64_MAX - MIB + 1);
}

static void div_ceil_rounds_up_without_overflow(void **state)
{
    (void)state;
    assert_int_equal(div_ceil(0, 7), 0);
    assert_int_equal(div_ceil(1, 7), 1);
    assert_int_equal(div_ceil(7, 7), 1);
    assert_int_equal(div_ceil(8, 7), 2);
    assert_true(div_ceil(UINT64_MAX, 2) == UINT64_C(1) << 63);
    assert_true(div_ceil(UINT64_MAX, UINT64_MAX) == 1);
}

static void min_and_max_choose(void **state)
{
    (void)state;
    assert_int_equal(min_u64(1, 2), 1);
    assert_int_equal(min_u64(2, 1), 1);
    assert_int_equal(max_u64(1, 2), 2);
    assert_int_equal(max_u64(2, 1), 2);
    assert_true(max_u64(UINT64_MAX, 0) == UINT64_MAX);
}

static void range_fits_only_inside(void **state)
{
    (void)state;
    assert_true(range_fits(0, 10, 10));
    assert_true(range_fits(10, 0, 10));
    assert_true(range_fits(9, 1, 10));
    assert_false(range_fits(9, 2, 10));
    assert_false(range_fits(11, 0, 10));
    assert_true(range_fits(0, 0, 0));
}

static void range_fits_does_not_wrap(void **state)
{
    (void)state;
    assert_false(range_fits(1, UINT64_MAX, UINT64_MAX));
    assert_false(range_fits(UINT64_MAX, 1, UINT64_MAX));
    assert_false(range_fits(UINT64_MAX - 4, 8, 100));
    assert_true(range_fits(0, UINT64_MAX, UINT64_MAX));
}

static void ranges_overlap_when_they_share_a_byte(void **state)
{
    (void)state;
    assert_true(ranges_overlap(0, 10, 9, 1));
    assert_false(ranges_overlap(0, 10, 10, 1));
    assert_false(ranges_overlap(10, 1, 0, 10));
    assert_true(ranges_overlap(5, 1, 0, 10));
    assert_true(ranges_overlap(0, 10, 5, 1));
    assert_true(ranges_overlap(3, 3, 3, 3));
}

static void empty_ranges_overlap_nothing(void **state)
{
    (void)state;
    assert_false(ranges_overlap(5, 0, 0, 10));
    assert_false(ranges_overlap(0, 10, 5, 0));
    assert_false(ranges_overlap(5, 0, 5, 0));
}

/* ---- endian --------------------------------------------------------------------------------- */

static void integers_on_disk_are_little_endian(void **state)
{
    (void)state;
    assert_int_equal(le16_get((struct le16){ { 0x34, 0x12 } }), 0x1234);
    assert_int_equal(le32_get((struct le32){ { 0x78, 0x56, 0x34, 0x12 } }), 0x12345678);
    assert_true(le64_get((struct le64){ { 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01 } }) ==
                UINT64_C(0x0123456789abcdef));
    assert_true(le64_get((struct le64){ { 0, 0, 0, 0, 0, 0, 0, 0x80 } }) == UINT64_C(1) << 63);
}

static void disk_integers_need_no_alignment(void **state)
{
    (void)state;
    assert_int_equal(_Alignof(struct le16), 1);
    assert_int_equal(_Alignof(struct le32), 1);
    assert_int_equal(_Alignof(struct le64), 1);
    assert_int_equal(sizeof(struct le16), 2);
    assert_int_equal(sizeof(struct le32), 4);
    assert_int_equal(sizeof(struct le64), 8);
}

/* ---- guid ----------------------------------------------------------------------------------- */

#define SAMPLE "2dc27766-f623-4200-9d64-115e9bfd4a08" /* the BAT region, [MS-VHDX] 2.2.3.2 */

static const struct guid sample = GUID(2DC27766, F623, 4200, 9D64, 115E9BFD4A08);

static void guid_on_disk_is_mixed_endian(void **state)
{
    struct guid_disk d = { { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e,
                             0x9b, 0xfd, 0x4a, 0x08 } };
    struct guid g = guid_get(d);

    (void)state;
    assert_true(guid_equal(&g, &sample));
}

static void guid_formats_in_lower_case_without_braces(void **state)
{
    char text[GUID_TEXT_SIZE];

    (void)state;
    guid_format(&sample, text);
    assert_string_equal(text, SAMPLE);
    assert_int_equal(strlen(text) + 1, VHDX_GUID_TEXT);
}

static void guid_parses_every_form(void **state)
{
    static const char *const forms[] = { SAMPLE, "{" SAMPLE "}",
                                         "2DC27766-F623-4200-9D64-115E9BFD4A08",
                                         "{2DC27766-f623-4200-9d64-115e9BFD4a08}" };

    (void)state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        struct guid g = { { 0 } };
        assert_true(guid_parse(forms[i], &g));
        assert_true(guid_equal(&g, &sample));
    }
}

static void guid_refuses_anything_else(void **state)
{
    static const char *const texts[] = {
        "", "{", "{}", "-", "2", "2dc27766", "{" SAMPLE, SAMPLE "}", SAMPLE " ", " " SAMPLE,
        "{" SAMPLE "} ", "{{" SAMPLE "}}", "2dc27766f62342009d64115e9bfd4a08",
        "2dc27766-f623-4200-9d64-115e9bfd4a0", "2dc27766-f623-4200-9d64-115e9bfd4a0g",
        "2dc27766-f623-4200-9d64-115e9bfd4a081", "2dc27766-f623-4200-9d6-4115e9bfd4a08",
        "2dc27766_f623-4200-9d64-115e9bfd4a08", "2dc2776 -f623-4200-9d64-115e9bfd4a08",
        "+dc27766-f623-4200-9d64-115e9bfd4a08", "2dc27766-f623-4200-9d64-", "2dc27766-f623-",
        "2dc2776:-f623-4200-9d64-115e9bfd4a08", "2dc2776`-f623-4200-9d64-115e9bfd4a08",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct guid g = sample;
        if (guid_parse(texts[i], &g))
            fail_test("\"%s\" was accepted\n", texts[i]);
        assert_true(guid_equal(&g, &sample)); /* untouched */
    }
}

static void guid_survives_format_and_parse(void **state)
{
    uint64_t random = 7;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct guid g, again;
        char text[GUID_TEXT_SIZE];
        for (int b = 0; b < 16; b++)
            g.bytes[b] = (uint8_t)next_random(&random);
        guid_format(&g, text);
        assert_true(guid_parse(text, &again));
        assert_true(guid_equal(&g, &again));
    }
}

static void only_the_zero_guid_is_zero(void **state)
{
    struct guid g = { { 0 } };

    (void)state;
    assert_true(guid_is_zero(&g));
    for (int i = 0; i < 16; i++) {
        g.bytes[i] = 1;
        assert_false(guid_is_zero(&g));
        g.bytes[i] = 0;
    }
}

/* ---- utf16 ---------------------------------------------------------------------------------- */

struct utf16_row {
    const char *name;
    size_t units;
    uint16_t in[8];
    const char *out;
};

static const struct utf16_row utf16_rows[] = {
    { "utf16: nothing", 0, { 0 }, "" },
    { "utf16: ascii", 3, { 'a', 'b', '~' }, "ab~" },
    { "utf16: two bytes", 3, { 0x7f, 0x80, 0x7ff }, "\x7f\xc2\x80\xdf\xbf" },
    { "utf16: three bytes", 3, { 0x800, 0x20ac, 0xffff },
      "\xe0\xa0\x80\xe2\x82\xac\xef\xbf\xbf" },
    { "utf16: below and above the surrogates", 2, { 0xd7ff, 0xe000 },
      "\xed\x9f\xbf\xee\x80\x80" },
    { "utf16: first pair", 2, { 0xd800, 0xdc00 }, "\xf0\x90\x80\x80" },
    { "utf16: last pair", 2, { 0xdbff, 0xdfff }, "\xf4\x8f\xbf\xbf" },
    { "utf16: pair between letters", 4, { 'a', 0xd83d, 0xde00, 'b' }, "a\xf0\x9f\x98\x80" "b" },
    { "utf16: lone high", 2, { 0xd800, 'x' }, REPLACEMENT "x" },
    { "utf16: lone high at the end", 1, { 0xdbff }, REPLACEMENT },
    { "utf16: lone low", 2, { 0xdc00, 'x' }, REPLACEMENT "x" },
    { "utf16: low before high", 2, { 0xdc00, 0xd800 }, REPLACEMENT REPLACEMENT },
    { "utf16: two highs and a low", 3, { 0xd800, 0xd800, 0xdc00 },
      REPLACEMENT "\xf0\x90\x80\x80" },
    { "utf16: stops at NUL", 4, { 'a', 0, 'b', 'c' }, "a" },
    { "utf16: NUL first", 2, { 0, 'b' }, "" },
    { "utf16: lone high before NUL", 2, { 0xd800, 0 }, REPLACEMENT },
    { "utf16: high byte alone is no NUL", 1, { 0x0100 }, "\xc4\x80" },
};

static void utf16_row(void **state)
{
    const struct utf16_row *row = *state;
    uint8_t *src = malloc(2 * row->units + 1), *odd = src + 1;
    char *out = malloc(UTF16_MAX_UTF8(row->units));

    for (size_t i = 0; i < row->units; i++)
        put16(odd + 2 * i, row->in[i]);
    size_t len = utf16le_to_utf8(odd, row->units, out);
    assert_string_equal(out, row->out);
    assert_int_equal(len, strlen(row->out));
    free(out);
    free(src);
}

static void utf16_longest_text_fits(void **state)
{
    uint8_t src[512];
    char *out = malloc(UTF16_MAX_UTF8(256));

    (void)state;
    for (int i = 0; i < 256; i++)
        put16(src + 2 * i, 0xffee);
    assert_int_equal(utf16le_to_utf8(src, 256, out), 768);
    assert_int_equal(strlen(out), 768);
    free(out);
}

/* ---- iszero --------------------------------------------------------------------------------- */

static void is_zero_at_every_length(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 200; len++) {
        uint8_t *p = calloc(1, len + 1); /* exactly as long, for a sanitizer */
        p = realloc(p, len ? len : 1);
        assert_true(is_zero(p, len));
        free(p);
    }
    assert_true(is_zero("", 0));
}

/* Against one look at each byte: which grains of 16 are left out, wherever the buffer lies. */
static void runs_without_zeros_are_found(void **state)
{
    enum { GRAIN = 16, LEN = 5 * GRAIN };

    (void)state;
    for (uint32_t pattern = 0; pattern < 1u << 6; pattern++) {
        for (unsigned offset = 0; offset < GRAIN; offset++) {
            uint8_t p[LEN], told[LEN] = { 0 };
            size_t start, end = 0, before = 0;
            for (size_t i = 0; i < LEN; i++) /* one byte of each grain that has data */
                p[i] = pattern >> (offset + i) / GRAIN & 1 && (i % GRAIN == 5 || i + 1 == LEN);
            while (next_nonzero(p, LEN, offset, GRAIN, &start, &end)) {
                assert_true(start < end && end <= LEN && (start > before || before == 0));
                memset(told + start, 1, end - start);
                before = end;
            }
            assert_int_equal(end, LEN);
            for (size_t i = 0; i < LEN; i++) {
                bool has_data = false;
                for (size_t k = 0; k < LEN; k++)
                    has_data |= (offset + k) / GRAIN == (offset + i) / GRAIN && p[k];
                assert_int_equal(told[i], has_data);
            }
        }
    }
}

static void is_zero_finds_one_bit_anywhere(void **state)
{
    uint8_t p[201] = { 0 };

    (void)state;
    for (size_t len = 0; len <= 200; len++) {
        for (size_t i = 0; i < len; i++) {
            p[i] = (uint8_t)(1u << i % 8);
            assert_false(is_zero(p, len));
            p[i] = 0;
        }
        p[len] = 1; /* behind the end: not looked at */
        assert_true(is_zero(p, len));
        p[len] = 0;
    }
}

static void is_zero_at_every_alignment(void **state)
{
    uint8_t p[128] = { 0 };

    (void)state;
    for (size_t start = 0; start < 32; start++) {
        assert_true(is_zero(p + start, 96));
        p[start + 95] = 0x80;
        assert_false(is_zero(p + start, 96));
        p[start + 95] = 0;
    }
}

/* ---- cleanup -------------------------------------------------------------------------------- */

static void scope_frees_closes_and_unlocks(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int read_end, write_end, ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    read_end = ends[0];
    write_end = ends[1];
    {
        CLEANUP_FREE char *text = strdup("freed by the scope; a leak checker would tell");
        CLEANUP_CLOSE int fd = write_end;
        CLEANUP_CLOSE int none = -1;
        LOCK_FOR_SCOPE(&mutex);
        assert_int_not_equal(pthread_mutex_trylock(&mutex), 0);
        assert_non_null(text);
        assert_true(fd >= 0 && none < 0);
    }
    char c;
    assert_int_equal(read(read_end, &c, 1), 0); /* the end of the pipe: the writer is closed */
    assert_int_equal(pthread_mutex_trylock(&mutex), 0);
    pthread_mutex_unlock(&mutex);
    close(read_end);
}

static void stolen_pointer_survives_its_scope(void **state)
{
    char *kept;

    (void)state;
    {
        CLEANUP_FREE char *text = strdup("kept");
        kept = steal_ptr(text);
        assert_null(text);
    }
    assert_string_equal(kept, "kept");
    free(kept);
}

/* ---- the helpers of the tests themselves ---------------------------------------------------- */

static void test_checksum_has_the_published_value(void **state)
{
    (void)state;
    assert_int_equal(test_crc(0, "123456789", 9), 0xE3069283);
    assert_int_equal(test_crc(test_crc(0, "1234", 4), "56789", 5), 0xE3069283);
}

static void test_of_clean_lines_tells(void **state)
{
    static const char *const dirty[] = { "a\nb", "\x1b[31m", "\x7f", "\xc2\x85", "\xc2\x9b",
                                         "\xff", "\xc3", "\xe2\x82", "\xc0\xaf", "\xed\xa0\x80",
                                         "\xf4\x90\x80\x80", "\x80" };

    (void)state;
    assert_true(is_clean_line("plain, gr\xc3\xbc\xc3\x9f, \xe2\x82\xac, \xf0\x9f\x98\x80", 40));
    for (size_t i = 0; i < COUNT(dirty); i++)
        assert_false(is_clean_line(dirty[i], strlen(dirty[i]) + 1));
    assert_false(is_clean_line("abc", 3));
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, test_checksum_has_the_published_value);
    ADD_TEST(&s, test_of_clean_lines_tells);
    ADD_TEST(&s, powers_of_two_are_told_from_others);
    ADD_TEST(&s, alignment_rounds_and_tells);
    ADD_TEST(&s, div_ceil_rounds_up_without_overflow);
    ADD_TEST(&s, min_and_max_choose);
    ADD_TEST(&s, range_fits_only_inside);
    ADD_TEST(&s, range_fits_does_not_wrap);
    ADD_TEST(&s, ranges_overlap_when_they_share_a_byte);
    ADD_TEST(&s, empty_ranges_overlap_nothing);
    ADD_TEST(&s, integers_on_disk_are_little_endian);
    ADD_TEST(&s, disk_integers_need_no_alignment);
    ADD_TEST(&s, guid_on_disk_is_mixed_endian);
    ADD_TEST(&s, guid_formats_in_lower_case_without_braces);
    ADD_TEST(&s, guid_parses_every_form);
    ADD_TEST(&s, guid_refuses_anything_else);
    ADD_TEST(&s, guid_survives_format_and_parse);
    ADD_TEST(&s, only_the_zero_guid_is_zero);
    ADD_ROWS(&s, utf16_row, utf16_rows);
    ADD_TEST(&s, utf16_longest_text_fits);
    ADD_TEST(&s, is_zero_at_every_length);
    ADD_TEST(&s, is_zero_finds_one_bit_anywhere);
    ADD_TEST(&s, runs_without_zeros_are_found);
    ADD_TEST(&s, is_zero_at_every_alignment);
    ADD_TEST(&s, scope_frees_closes_and_unlocks);
    ADD_TEST(&s, stolen_pointer_survives_its_scope);
    return run_suite("util", &s, NULL, NULL);
}
