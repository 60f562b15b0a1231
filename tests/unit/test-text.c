/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Reading UTF-8, and making text from files fit to be shown. */

#include "util/text.h"
#include "util/utf16.h"

#include "expect.h"

/* Written from RFC 3629. Also encodes what must not be encoded. */
static size_t encode(uint32_t c, size_t len, char *out)
{
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = len; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[len] | c);
    out[len] = '\0';
    return len;
}

static size_t shortest(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

static void every_code_point_is_read(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x110000; c++) {
        char text[8];
        const char *p = text;
        size_t len = encode(c, shortest(c), text);
        uint32_t found = utf8_next(&p);
        if (c >= 0xd800 && c < 0xe000) { /* surrogates are no characters */
            if (found != UTF8_INVALID || p != text)
                fail_test("surrogate %#x was read as %#x\n", c, found);
        } else if (found != c || p != text + len) {
            fail_test("%#x was read as %#x, %zu of %zu bytes\n", c, found, (size_t)(p - text),
                      len);
        }
    }
}

static void expect_invalid(const char *text)
{
    const char *p = text;

    if (utf8_next(&p) != UTF8_INVALID || p != text)
        fail_test("\"%s\" was read\n", text);
}

static void longer_forms_are_no_characters(void **state)
{
    static const uint32_t points[] = { 1, '/', 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0xffff };

    (void)state;
    for (size_t i = 0; i < COUNT(points); i++) {
        for (size_t len = shortest(points[i]) + 1; len <= 4; len++) {
            char text[8];
            encode(points[i], len, text);
            expect_invalid(text);
        }
    }
}

static void bytes_beyond_unicode_are_no_characters(void **state)
{
    static const char *const texts[] = { "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                         "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80",
                                         "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff" };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_invalid(texts[i]);
}

static void parts_of_characters_are_none(void **state)
{
    static const char *const texts[] = { "\x80", "\xbf", "\xc3", "\xe2\x82", "\xe2", "\xf0\x9f\x98",
                                         "\xf0\x9f", "\xf0", "\xc3(", "\xe2(\xac", "\xe2\x82(",
                                         "\xf0(\x98\x80", "\xf0\x9f(\x80", "\xf0\x9f\x98(",
                                         "\xc3\xc3", "\xe2\xe2\xe2" };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_invalid(texts[i]);
}

struct clean_row {
    const char *name;
    const char *in, *out;
};

static const struct clean_row clean_rows[] = {
    { "clean: nothing", "", "" },
    { "clean: plain text stays", "a plain text ~", "a plain text ~" },
    { "clean: characters stay", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
      "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
    { "clean: new line and tab", "a\nb\tc\r", "a?b?c?" },
    { "clean: escape sequence", "\x1b[31mred", "?[31mred" },
    { "clean: DEL", "a\x7f", "a?" },
    { "clean: C1 control characters", "\xc2\x80\xc2\x85\xc2\x9b\xc2\x9f", "????" },
    { "clean: the first character behind C1", "\xc2\xa0", "\xc2\xa0" },
    { "clean: line and paragraph separator", "a\xe2\x80\xa8" "b\xe2\x80\xa9", "a?b?" },
    { "clean: direction marks", "\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6"
      "\xe2\x81\xa9", "??????" },
    { "clean: general punctuation stays", "\xe2\x80\x90\xe2\x80\xa7\xe2\x80\xaf",
      "\xe2\x80\x90\xe2\x80\xa7\xe2\x80\xaf" },
    { "clean: bytes that are no UTF-8", "a\xff" "b\xfe", "a?b?" },
    { "clean: part of a character", "\xe2\x82" "a", "??a" },
    { "clean: part of a character at the end", "a\xf0\x9f\x98", "a???" },
    { "clean: longer form of a slash", "\xc0\xaf", "??" },
    { "clean: surrogate", "\xed\xa0\x80", "???" },
};

static void clean_row(void **state)
{
    const struct clean_row *row = *state;
    char *text = strdup(row->in); /* just as long, for a sanitizer */

    text_clean(text);
    assert_string_equal(text, row->out);
    assert_true(is_clean_line(text, strlen(row->in) + 1));
    free(text);
}

static void noise_becomes_a_clean_line(void **state)
{
    uint64_t random = 11;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t len = next_random(&random) % 40;
        char *text = malloc(len + 1);
        for (size_t b = 0; b < len; b++) {
            uint32_t x = next_random(&random);
            text[b] = (char)(x % 3 ? 0x80 | (x >> 8) : 1 + (x >> 8) % 255);
        }
        text[len] = '\0';
        text_clean(text);
        assert_true(is_clean_line(text, len + 1));
        free(text);
    }
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, every_code_point_is_read);
    ADD_TEST(&s, longer_forms_are_no_characters);
    ADD_TEST(&s, bytes_beyond_unicode_are_no_characters);
    ADD_TEST(&s, parts_of_characters_are_none);
    ADD_ROWS(&s, clean_row, clean_rows);
    ADD_TEST(&s, noise_becomes_a_clean_line);
    return run_suite("text", &s, NULL, NULL);
}
