/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What tests expect of errors, and tests that are rows of a table. */
#ifndef TEST_EXPECT_H
#define TEST_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* util/fail.h has a function of this name */

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <vhdx.h>

#include "bytes.h"

#define fail_test(...)                                                                             \
    do {                                                                                           \
        print_error(__VA_ARGS__);                                                                  \
        _fail(__FILE__, __LINE__);                                                                 \
    } while (0)

/* An error that nobody has filled. */
static inline struct vhdx_error blank_error(void)
{
    struct vhdx_error e;

    memset(&e, 0xa5, sizeof e);
    return e;
}

static inline void assert_untouched(const struct vhdx_error *err)
{
    struct vhdx_error blank = blank_error();

    assert_memory_equal(err, &blank, sizeof blank);
}

/* The bytes of the UTF-8 character at s, or 0 if there is none: bad or overlong forms, surrogates,
   control characters (C0, DEL, C1). */
static inline size_t clean_character(const unsigned char *s)
{
    uint32_t c = s[0], least = 0;
    size_t n = 1;

    if (c >= 0x20 && c < 0x7f)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        c &= 0x1f, n = 2, least = 0xa0;
    else if (c >= 0xe0 && c <= 0xef)
        c &= 0x0f, n = 3, least = 0x800;
    else if (c >= 0xf0 && c <= 0xf4)
        c &= 0x07, n = 4, least = 0x10000;
    else
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

/* One line of UTF-8 that ends inside the array. */
static inline bool is_clean_line(const char *s, size_t size)
{
    const unsigned char *p = (const unsigned char *)s;

    if (memchr(s, 0, size) == NULL)
        return false;
    while (*p) {
        size_t n = clean_character(p);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

/* Are the words, separated by '|', in the text, in this order? */
static inline bool has_words(const char *text, const char *words)
{
    while (words && *words) {
        size_t len = strcspn(words, "|");
        const char *at = memmem(text, strlen(text), words, len);
        if (!at)
            return false;
        text = at + len;
        words += len + (words[len] == '|');
    }
    return true;
}

/* A call returned r and filled err: the code, the file offset, and the words of the message. */
static inline void expect_error_at(int r, const struct vhdx_error *err, int code, uint64_t offset,
                                   const char *words, const char *file, int line)
{
    const char *wrong = NULL;

    if (r >= 0)
        wrong = "the call succeeded";
    else if (r != -code || err->code != code)
        wrong = "code";
    else if (err->file_offset != offset)
        wrong = "file offset";
    else if (!is_clean_line(err->message, sizeof err->message))
        wrong = "message is not one clean line";
    else if (!has_words(err->message, words) || strstr(err->message, "ailed to"))
        wrong = "message";
    if (!wrong)
        return;
    if (r >= 0)
        print_error("%s: must be -%d, words \"%s\"\n", wrong, code, words);
    else
        print_error("%s: found %d, %d, %#" PRIx64 ", \"%s\"; must be %d, %#" PRIx64 ", \"%s\"\n",
                    wrong, r, err->code, err->file_offset, err->message, code, offset, words);
    _fail(file, line);
}

#define expect_error(r, err, code, offset, words)                                                  \
    expect_error_at((r), (err), (code), (offset), (words), __FILE__, __LINE__)

/* ---- Tests that are rows ----------------------------------------------------------------------
 *
 * Each row of an array becomes a test: its first member is the test's name, and the function finds
 * the row in *state.
 */
struct suite {
    struct CMUnitTest tests[512];
    size_t count;
};

static inline void add_test(struct suite *s, const char *name, CMUnitTestFunction fn,
                            const void *row)
{
    union { const void *in; void *out; } cast = { row };

    if (s->count == COUNT(s->tests))
        abort();
    s->tests[s->count++] = (struct CMUnitTest){ .name = name, .test_func = fn,
                                                .initial_state = cast.out };
}

static inline void add_rows(struct suite *s, CMUnitTestFunction fn, const void *rows, size_t size,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + i * size, *name;
        memcpy(&name, row, sizeof name);
        add_test(s, name, fn, row);
    }
}

#define ADD_TEST(s, fn) add_test((s), #fn, (fn), NULL)
#define ADD_ROWS(s, fn, rows) add_rows((s), (fn), (rows), sizeof(rows)[0], COUNT(rows))

static inline int run_suite(const char *name, struct suite *s, CMFixtureFunction setup,
                            CMFixtureFunction teardown)
{
    return _cmocka_run_group_tests(name, s->tests, s->count, setup, teardown);
}

#endif
