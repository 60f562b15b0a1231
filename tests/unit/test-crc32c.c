/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * CRC-32C: crc32c() and each of its variants against a bit-by-bit reference that shares nothing
 * with them. What this machine cannot run is reported as skipped.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/crc32c.h"

#define SMALL_LEN (8 * KIB)
#define LARGE_LEN (4 * MIB)
#define ALIGNMENTS 64

/* Pseudo-random bytes, and the reference's result for every length of them. */
static uint8_t *data;
static uint32_t *expected;

static uint32_t reference_byte(uint32_t reg, uint8_t byte)
{
    for (int bit = 0; bit < 8; bit++) {
        uint32_t out = (reg ^ (uint32_t)(byte >> bit)) & 1;
        reg = (reg >> 1) ^ (out ? 0x82F63B78u : 0);
    }
    return reg;
}

static int prepare(void **state)
{
    uint32_t reg = UINT32_MAX;
    uint64_t random = 1;

    (void)state;
    data = malloc(LARGE_LEN);
    expected = malloc((LARGE_LEN + 1) * sizeof expected[0]);
    if (data == NULL || expected == NULL)
        return -1;
    for (size_t i = 0; i < LARGE_LEN; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(random >> 56);
        expected[i] = ~reg;
        reg = reference_byte(reg, data[i]);
    }
    expected[LARGE_LEN] = ~reg;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    free(data);
    free(expected);
    return 0;
}

static const struct crc32c_variant *variant_or_skip(void **state)
{
    const struct crc32c_variant *v = *state;

    if (!v->supported())
        skip();
    return v;
}

static void check(const struct crc32c_variant *v, uint32_t found, uint32_t required, size_t len,
                  size_t place)
{
    if (found != required)
        fail_msg("%s: %zu bytes, alignment or split %zu: %#010x instead of %#010x", v->name, len,
                 place, found, required);
}

static void published_vectors(void **state)
{
    static const uint8_t read_pdu[48] = { 0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14,
                                          [31] = 0x18, [32] = 0x28, [40] = 0x02 };
    const struct crc32c_variant *v = variant_or_skip(state);
    uint8_t zeros[32], ones[32], up[32], down[32];

    for (int i = 0; i < 32; i++) {
        zeros[i] = 0;
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(v->fn(0, "123456789", 9), 0xE3069283u);
    /* RFC 3720 B.4 prints the bytes as they are sent, the lowest first. */
    assert_int_equal(v->fn(0, zeros, 32), 0x8A9136AAu);
    assert_int_equal(v->fn(0, ones, 32), 0x62A8AB43u);
    assert_int_equal(v->fn(0, up, 32), 0x46DD794Eu);
    assert_int_equal(v->fn(0, down, 32), 0x113FDB5Cu);
    assert_int_equal(v->fn(0, read_pdu, 48), 0xD9963A56u);
}

static void nothing_changes_nothing(void **state)
{
    const struct crc32c_variant *v = variant_or_skip(state);

    assert_int_equal(v->fn(0, NULL, 0), 0);
    assert_int_equal(v->fn(0x12345678u, NULL, 0), 0x12345678u);
    assert_int_equal(v->fn(UINT32_MAX, data, 0), UINT32_MAX);
}

/* Above 1 KiB each length meets eight alignments, and each alignment every eighth length. */
static void every_length_at_every_alignment(void **state)
{
    const struct crc32c_variant *v = variant_or_skip(state);
    static uint8_t buf[SMALL_LEN + ALIGNMENTS] __attribute__((aligned(ALIGNMENTS)));

    for (size_t alignment = 0; alignment < ALIGNMENTS; alignment++) {
        memcpy(buf + alignment, data, SMALL_LEN);
        for (size_t len = 0; len <= SMALL_LEN; len++)
            if (len <= KIB || (len + alignment) % 8 == 0)
                check(v, v->fn(0, buf + alignment, len), expected[len], len, alignment);
    }
}

static void chained_at_every_split(void **state)
{
    static const size_t lengths[] = { 1,    2,    7,    8,    9,    63,   64,    65,   127,
                                      255,  256,  257,  375,  376,  504,  513,   1000, 1029,
                                      4079, 4080, 4096, 4097, 8191, 8192, 16390 };
    const struct crc32c_variant *v = variant_or_skip(state);

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (size_t split = 0; split <= lengths[i]; split++) {
            uint32_t first = v->fn(0, data, split);
            check(v, v->fn(first, data + split, lengths[i] - split), expected[lengths[i]],
                  lengths[i], split);
        }
    }
}

/* The units in which the variants work, and sizes that multiply them. */
static void around_every_block_boundary(void **state)
{
    static const size_t units[] = { 24,   192,  256,  376,   504,   632,   1360,  4080,
                                    4096, 8192, 8448, 16384, 16640, 65536, MIB };
    static const size_t multiples[] = { 1, 2, 3, 4, 5, 16, 17, 40, SIZE_MAX };
    const struct crc32c_variant *v = variant_or_skip(state);

    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        for (size_t m = 0; m < ARRAY_LEN(multiples); m++) {
            size_t most = LARGE_LEN / units[u];
            size_t end = units[u] * (multiples[m] < most ? multiples[m] : most);
            for (size_t len = end - 17; len <= end + 17 && len <= LARGE_LEN; len++)
                check(v, v->fn(0, data, len), expected[len], len, 0);
        }
    }
}

static void every_length_in_long_chunks(void **state)
{
    const struct crc32c_variant *v = variant_or_skip(state);

    for (size_t len = SMALL_LEN; len <= 8 * SMALL_LEN; len += 5)
        check(v, v->fn(0, data, len), expected[len], len, 0);
}

/* The pages before and after the buffer may not be touched. */
static void reads_nothing_but_the_buffer(void **state)
{
    const struct crc32c_variant *v = variant_or_skip(state);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size_t)align_up(SMALL_LEN, page);
    uint8_t *map = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    uint8_t *begin = map + page, *end = begin + room;
    assert_int_equal(mprotect(begin, room, PROT_READ | PROT_WRITE), 0);
    for (size_t len = 0; len <= SMALL_LEN; len += len < 1024 ? 1 : 37) {
        memcpy(end - len, data, len);
        check(v, v->fn(0, end - len, len), expected[len], len, 0);
        memcpy(begin, data, len);
        check(v, v->fn(0, begin, len), expected[len], len, 0);
    }
    munmap(map, room + 2 * page);
}

static void *checksum_in_thread(void *ret)
{
    *(uint32_t *)ret = crc32c(0, data, 4096);
    return NULL;
}

/* To be run first; what it shows, it shows to a thread sanitizer. */
static void first_call_from_many_threads(void **state)
{
    pthread_t threads[8];
    uint32_t results[ARRAY_LEN(threads)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, checksum_in_thread, &results[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(results[i], expected[4096]);
    }
}

static bool always(void)
{
    return true;
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction fn;
    } bodies[] = {
        { "published_vectors", published_vectors },
        { "nothing_changes_nothing", nothing_changes_nothing },
        { "every_length_at_every_alignment", every_length_at_every_alignment },
        { "chained_at_every_split", chained_at_every_split },
        { "around_every_block_boundary", around_every_block_boundary },
        { "every_length_in_long_chunks", every_length_in_long_chunks },
        { "reads_nothing_but_the_buffer", reads_nothing_but_the_buffer },
    };
    static struct crc32c_variant subjects[8] = { { "crc32c", always, crc32c } };
    static struct CMUnitTest tests[1 + ARRAY_LEN(subjects) * ARRAY_LEN(bodies)];
    static char names[ARRAY_LEN(tests)][64];
    size_t subjects_count = 1 + crc32c_variants_count, n = 0;

    if (subjects_count > ARRAY_LEN(subjects))
        return 1;
    memcpy(subjects + 1, crc32c_variants, crc32c_variants_count * sizeof subjects[0]);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(first_call_from_many_threads);
    for (size_t s = 0; s < subjects_count; s++) {
        for (size_t b = 0; b < ARRAY_LEN(bodies); b++) {
            snprintf(names[n], sizeof names[n], "%s: %s", subjects[s].name, bodies[b].name);
            tests[n] = (struct CMUnitTest){ .name = names[n], .test_func = bodies[b].fn,
                                            .initial_state = &subjects[s] };
            n++;
        }
    }
    return _cmocka_run_group_tests("crc32c", tests, n, prepare, discard);
}
