/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Choosing the CRC-32C variant for this machine; see crc32c.h. The choice is made by the first
 * call, because nothing else works everywhere: an IFUNC needs glibc and runs before sanitizers are
 * ready, a constructor may run after somebody else's constructor has called the library.
 *
 * `chosen` is the one mutable global of the library. It goes from choose_and_run to the chosen
 * variant and never changes again. Threads that make the first call together all store the same
 * value, and whichever value a thread reads is a function that gives the right CRC; so the word
 * guards nothing but itself, and relaxed atomics suffice: on the usual machines plain loads and
 * stores.
 */

#include "util/crc32c.h"

#include <stdatomic.h>

#include "util/bits.h"

static bool always(void)
{
    return true;
}

const struct crc32c_variant crc32c_variants[] = {
#if defined(__x86_64__)
    { "avx512", crc32c_avx512_supported, crc32c_avx512 },
    { "sse42", crc32c_sse42_supported, crc32c_sse42 },
#elif defined(__aarch64__)
    { "armv8", crc32c_armv8_supported, crc32c_armv8 },
#endif
    { "table", always, crc32c_table },
};

const size_t crc32c_variants_count = ARRAY_LEN(crc32c_variants);

static crc32c_fn choose_and_run;

static _Atomic(crc32c_fn *) chosen = choose_and_run;

static uint32_t choose_and_run(uint32_t crc, const void *buf, size_t len)
{
    const struct crc32c_variant *v = crc32c_variants;

    while (!v->supported())
        v++;
    atomic_store_explicit(&chosen, v->fn, memory_order_relaxed);
    return v->fn(crc, buf, len);
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
    return atomic_load_explicit(&chosen, memory_order_relaxed)(crc, buf, len);
}

uint32_t crc32c_without(const void *buf, size_t len, size_t field)
{
    static const unsigned char zero[4];
    const unsigned char *p = buf;

    uint32_t crc = crc32c(0, p, field);
    crc = crc32c(crc, zero, sizeof zero);
    return crc32c(crc, p + field + sizeof zero, len - field - sizeof zero);
}
