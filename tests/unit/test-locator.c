/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The parent locator: [MS-VHDX] 2.6.2.6. */

#include "format/locator.h"

#include "expect.h"

#define AT (2 * M + 70000) /* where the item stands in the file */
#define VHDX_TYPE "B04AEFB7-D19E-4A81-B789-25B8E9445913"
#define PARENT "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}"
#define ENTRY(n) (20 + 12 * (n))

struct pair {
    const char *key, *value;
};

static const struct pair windows_pairs[] = {
    { "parent_linkage", PARENT },
    { "absolute_win32_path", "C:\\VMs\\base.vhdx" },
    { "relative_path", ".\\base.vhdx" },
    { "volume_path", "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\VMs\\base.vhdx" },
    { "parent_linkage2", "{00000000-0000-0000-0000-000000000000}" },
};

/* The item: header, entries, then the texts one after the other. Returns its length. */
static uint32_t put_locator(uint8_t *buf, const struct pair *pairs, unsigned count)
{
    uint32_t end = ENTRY(count);

    memset(buf, 0, 4096);
    put_guid(buf, VHDX_TYPE);
    put16(buf + 18, count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *e = buf + ENTRY(i);
        size_t key = put_text16(buf + end, pairs[i].key);
        size_t value = put_text16(buf + end + key, pairs[i].value);
        put32(e, end);
        put32(e + 4, end + (uint32_t)key);
        put16(e + 8, (uint32_t)key);
        put16(e + 10, (uint32_t)value);
        end += (uint32_t)(key + value);
    }
    return end;
}

/* Decodes from memory of just that length, for a sanitizer. */
static int decode(const uint8_t *buf, uint32_t length, struct locator *ret, struct vhdx_error *err)
{
    uint8_t *exact = malloc(length ? length : 1);
    struct locator *l = malloc(sizeof *l);

    memcpy(exact, buf, length);
    int r = locator_decode(exact, length, AT, NULL, l, err);
    for (uint32_t i = 0; r == 0 && i < l->count; i++) { /* readable to their ends? */
        const struct locator_pair *p = &l->pairs[i];
        assert_true(test_crc(0, p->key, 2 * (size_t)p->key_units) != 1);
        assert_true(test_crc(0, p->value, 2 * (size_t)p->value_units) != 1);
    }
    if (r == 0 && ret)
        *ret = *l; /* its pointers are not to be used */
    free(l);
    free(exact);
    return r;
}

static void assert_text(const uint8_t *text, size_t units, const char *expected)
{
    uint8_t buf[512];

    assert_int_equal(put_text16(buf, expected), 2 * units);
    assert_memory_equal(text, buf, 2 * units);
}

/* ---- Good locators -------------------------------------------------------------------------- */

static void what_windows_writes_decodes_to_its_pairs(void **state)
{
    struct vhdx_error err = blank_error();
    struct locator *l = malloc(sizeof *l);
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, windows_pairs, COUNT(windows_pairs));

    (void)state;
    assert_int_equal(locator_decode(buf, length, AT, NULL, l, &err), 0);
    assert_untouched(&err);
    assert_int_equal(l->count, COUNT(windows_pairs));
    for (unsigned i = 0; i < COUNT(windows_pairs); i++) { /* in the file's order */
        assert_text(l->pairs[i].key, l->pairs[i].key_units, windows_pairs[i].key);
        assert_text(l->pairs[i].value, l->pairs[i].value_units, windows_pairs[i].value);
    }
    free(l);
}

static void one_path_of_any_kind_is_enough(void **state)
{
    static const char *const paths[] = { "relative_path", "volume_path", "absolute_win32_path" };
    uint8_t buf[4096];

    (void)state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        struct pair pairs[2] = { { paths[i], "x" }, { "parent_linkage", PARENT } };
        uint32_t length = put_locator(buf, pairs, 2);
        assert_int_equal(decode(buf, length, NULL, NULL), 0);
    }
}

static void unknown_keys_are_kept(void **state)
{
    static const struct pair pairs[] = { { "parent_linkage", PARENT }, { "x-key", "1" },
                                         { "relative_path", "p" } };
    struct locator *l = malloc(sizeof *l);
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));

    (void)state;
    assert_int_equal(decode(buf, length, l, NULL), 0);
    assert_int_equal(l->count, 3);
    free(l);
}

static void keys_that_differ_in_case_are_two_keys(void **state)
{
    static const struct pair pairs[] = { { "parent_linkage", PARENT }, { "Relative_Path", "a" },
                                         { "relative_path", "b" } };
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));

    (void)state;
    assert_int_equal(decode(buf, length, NULL, NULL), 0);
}

static void bytes_behind_the_texts_are_ignored(void **state)
{
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, windows_pairs, COUNT(windows_pairs));

    (void)state;
    memset(buf + length, 0xff, 100);
    assert_int_equal(decode(buf, length + 100, NULL, NULL), 0);
}

static void as_many_keys_as_the_limit_allows(void **state)
{
    struct vhdx_error err = blank_error();
    char keys[65][8];
    struct pair pairs[65] = { { "parent_linkage", PARENT }, { "relative_path", "x" } };
    uint8_t buf[4096];

    (void)state;
    for (unsigned i = 2; i < 65; i++) {
        memcpy(keys[i], "key-00", 7);
        keys[i][4] = (char)('0' + i / 10);
        keys[i][5] = (char)('0' + i % 10);
        pairs[i] = (struct pair){ keys[i], "v" };
    }
    uint32_t length = put_locator(buf, pairs, 64);
    assert_int_equal(decode(buf, length, NULL, NULL), 0);
    length = put_locator(buf, pairs, 65);
    expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_LIMIT, AT + 18,
                 "parent locator|key count|65|at most 64");
}

static void key_is_compared_whole_and_with_case(void **state)
{
    uint8_t text[64];
    size_t len = put_text16(text, "relative_path");
    struct locator_pair p = { .key = text, .key_units = (uint16_t)(len / 2) };

    (void)state;
    assert_true(locator_key_is(&p, "relative_path"));
    assert_false(locator_key_is(&p, "relative_pat"));
    assert_false(locator_key_is(&p, "relative_path2"));
    assert_false(locator_key_is(&p, "Relative_path"));
    assert_false(locator_key_is(&p, ""));
    text[1] = 1; /* U+0172: the low byte alone is 'r' */
    assert_false(locator_key_is(&p, "relative_path"));
}

/* ---- Rules ---------------------------------------------------------------------------------- */

/* The locator of windows_pairs is 20 + 5 * 12 = 80 bytes and then the texts. */
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
    { "type that is not VHDX", 0, 1, 0xb8, VHDX_E_UNSUPPORTED, AT,
      "parent locator|type|b04aefb8-d19e-4a81-b789-25b8e9445913|VHDX" },
    { "reserved field", 16, 2, 0x300, VHDX_E_CORRUPT, AT + 16,
      "parent locator|reserved|0x300|must be 0" },
    { "count that the item cannot hold", 18, 2, 1000, VHDX_E_CORRUPT, AT + 18,
      "parent locator|key count|1000|length" },
    { "greatest count", 18, 2, 0xffff, VHDX_E_CORRUPT, AT + 18, "parent locator|key count|65535" },
    { "no keys", 18, 2, 0, VHDX_E_CORRUPT, AT, "parent locator|parent_linkage|missing" },
    { "no path", 18, 2, 1, VHDX_E_CORRUPT, AT,
      "parent locator|path|missing|relative_path|volume_path|absolute_win32_path" },
    { "key offset 0", ENTRY(1), 4, 0, VHDX_E_CORRUPT, AT + ENTRY(1),
      "parent locator, entry 1|key offset 0" },
    { "value offset 0", ENTRY(2) + 4, 4, 0, VHDX_E_CORRUPT, AT + ENTRY(2),
      "parent locator, entry 2|value offset 0" },
    { "key length 0", ENTRY(0) + 8, 2, 0, VHDX_E_CORRUPT, AT + ENTRY(0),
      "parent locator, entry 0|key length|0|above 0" },
    { "value length 0", ENTRY(4) + 10, 2, 0, VHDX_E_CORRUPT, AT + ENTRY(4),
      "parent locator, entry 4|value length|0|above 0" },
    { "odd key length", ENTRY(3) + 8, 2, 21, VHDX_E_CORRUPT, AT + ENTRY(3),
      "parent locator, entry 3|key length|21|even" },
    { "odd value length", ENTRY(0) + 10, 2, 75, VHDX_E_CORRUPT, AT + ENTRY(0),
      "parent locator, entry 0|value length|75|even" },
    { "key offset behind the item", ENTRY(0), 4, 4000, VHDX_E_CORRUPT, AT + ENTRY(0),
      "parent locator, entry 0|key offset 4000|inside the item" },
    { "key offset that wraps", ENTRY(0), 4, 0xfffffff0, VHDX_E_CORRUPT, AT + ENTRY(0),
      "parent locator, entry 0|key offset 4294967280|inside the item" },
    { "value offset behind the item", ENTRY(1) + 4, 4, 0x10000, VHDX_E_CORRUPT, AT + ENTRY(1),
      "parent locator, entry 1|value offset 65536|inside the item" },
    { "value that reaches past the item", ENTRY(4) + 10, 2, 78, VHDX_E_CORRUPT, AT + ENTRY(4),
      "parent locator, entry 4|value offset|length 78|inside the item" },
    { "longest value", ENTRY(0) + 10, 2, 0xfffe, VHDX_E_CORRUPT, AT + ENTRY(0),
      "parent locator, entry 0|length 65534|inside the item" },
};

static void broken_rule_is_named(void **state)
{
    const struct rule *rule = *state;
    struct vhdx_error err = blank_error();
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, windows_pairs, COUNT(windows_pairs));

    put_int(buf + rule->at, rule->value, rule->width);
    expect_error(decode(buf, length, NULL, &err), &err, rule->code, rule->offset, rule->words);
}

static void item_shorter_than_its_header(void **state)
{
    uint8_t buf[4096];

    (void)state;
    put_locator(buf, windows_pairs, COUNT(windows_pairs));
    for (uint32_t length = 0; length < 20; length++) {
        struct vhdx_error err = blank_error();
        expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT,
                     "parent locator|length|at least 20");
    }
}

static void item_cut_anywhere_is_refused(void **state)
{
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, windows_pairs, COUNT(windows_pairs));

    (void)state;
    while (length-- > 0) {
        struct vhdx_error err = blank_error();
        assert_int_equal(decode(buf, length, NULL, &err), -VHDX_E_CORRUPT);
        assert_true(is_clean_line(err.message, sizeof err.message));
    }
}

static void key_listed_twice_is_refused(void **state)
{
    static const struct pair pairs[] = { { "parent_linkage", PARENT }, { "relative_path", "a" },
                                         { "x", "y" }, { "relative_path", "b" } };
    struct vhdx_error err = blank_error();
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));

    (void)state;
    expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT + ENTRY(3),
                 "parent locator, entry 3|key|entry 1|unique");
}

static void linkage_is_required(void **state)
{
    static const struct pair pairs[] = { { "parent_linkage2", PARENT }, { "relative_path", "a" },
                                         { "Parent_Linkage", PARENT } };
    struct vhdx_error err = blank_error();
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));

    (void)state;
    expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT,
                 "parent locator|parent_linkage|missing");
}

static void path_is_required(void **state)
{
    static const struct pair pairs[] = { { "parent_linkage", PARENT }, { "relative_path2", "a" },
                                         { "RELATIVE_PATH", "a" } };
    struct vhdx_error err = blank_error();
    uint8_t buf[4096];
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));

    (void)state;
    expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT,
                 "parent locator|path|missing");
}

/*
 * "There must be no internal NUL characters": what stands behind one is invisible, so that two keys
 * that differ would read as one.
 */
static void nul_in_a_key_is_refused(void **state)
{
    struct pair pairs[COUNT(windows_pairs) + 1];
    struct vhdx_error err = blank_error();
    uint8_t buf[4096];

    (void)state;
    pairs[0] = (struct pair){ "parent_linkage_x", PARENT };
    memcpy(pairs + 1, windows_pairs, sizeof windows_pairs);
    uint32_t length = put_locator(buf, pairs, COUNT(pairs));
    put16(buf + get_int(buf + ENTRY(0), 4) + 2 * strlen("parent_linkage"), 0);
    expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT + ENTRY(0),
                 "parent locator, entry 0|key|NUL");
}

static void nul_in_a_value_is_refused(void **state)
{
    uint8_t buf[4096];

    (void)state;
    for (unsigned i = 0; i < COUNT(windows_pairs); i++) {
        struct vhdx_error err = blank_error();
        uint32_t length = put_locator(buf, windows_pairs, COUNT(windows_pairs));
        size_t text = get_int(buf + ENTRY(i) + 4, 4), text_length = get_int(buf + ENTRY(i) + 10, 2);
        put16(buf + text + text_length - 2, 0);
        expect_error(decode(buf, length, NULL, &err), &err, VHDX_E_CORRUPT, AT + ENTRY(i),
                     "parent locator, entry |value|NUL");
        put16(buf + text + text_length - 2, 0x0100); /* half a NUL is none */
        put16(buf + text + text_length - 4, 0x4100);
        assert_int_equal(decode(buf, length, NULL, NULL), 0);
    }
}

int main(void)
{
    static struct suite s;

    ADD_TEST(&s, what_windows_writes_decodes_to_its_pairs);
    ADD_TEST(&s, one_path_of_any_kind_is_enough);
    ADD_TEST(&s, unknown_keys_are_kept);
    ADD_TEST(&s, keys_that_differ_in_case_are_two_keys);
    ADD_TEST(&s, bytes_behind_the_texts_are_ignored);
    ADD_TEST(&s, as_many_keys_as_the_limit_allows);
    ADD_TEST(&s, key_is_compared_whole_and_with_case);
    ADD_ROWS(&s, broken_rule_is_named, rules);
    ADD_TEST(&s, item_shorter_than_its_header);
    ADD_TEST(&s, item_cut_anywhere_is_refused);
    ADD_TEST(&s, key_listed_twice_is_refused);
    ADD_TEST(&s, linkage_is_required);
    ADD_TEST(&s, path_is_required);
    ADD_TEST(&s, nul_in_a_key_is_refused);
    ADD_TEST(&s, nul_in_a_value_is_refused);
    return run_suite("locator", &s, NULL, NULL);
}
