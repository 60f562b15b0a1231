/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * CRC-32C on x86-64, with the CRC instruction of SSE4.2 and carry-less multiplication.
 *
 * The maths. Read the data as a polynomial over GF(2), first bit first; its CRC is that polynomial
 * times x^32, modulo P. Addition is XOR and the remainder of a sum is the sum of the remainders, so
 * the data may be cut anywhere, and a part A that d words of 64 bits follow may be replaced by
 * anything that equals A * x^(64 d) modulo P. The product of A and the remainder of a power of x is
 * such a thing, and only slightly longer than A. So parts are worked on side by side and moved to
 * the end of the data when they are done.
 *
 * The constants. CRC-32C is bit-reversed: the lowest bit stands for the highest power, and a
 * 32-bit number used as a 64-bit factor is 32 powers too high. The lowest bit of a 128-bit product
 * stands for x^127, though two factors below x^64 give x^126 at most: one more. Hence a single
 * table serves everything here:
 *
 *     powers[d] = x^(64 d - 33) modulo P                      moves its factor over d words
 *
 * also for d = 0, as x has an inverse modulo P. What is moved:
 *   - The 32-bit CRC of a stream: the low 64 bits of the product, fed to the CRC instruction, which
 *     multiplies by the x^32 that a CRC owes.
 *   - 16 bytes in a vector lane: the first 8 have the second 8 between them and the end, so they
 *     are multiplied by powers[d + 1], the second by powers[d]. The two products add up to 16 bytes
 *     again, to be added to the 16 bytes that stand d words later, or, for d = 0, to be fed to the
 *     CRC instruction.
 *
 * sse42: the CRC instruction takes 8 bytes, starts every cycle, and takes three to finish. Three
 * streams run side by side:
 *
 *     [ a: third of the words ][ b: third ][ c: the rest ]
 *
 * avx512: the multiplier is another unit than the CRC instruction's, so both are kept busy. 256
 * bytes of data in four registers are folded forward over the first part of the chunk, while the
 * three streams run over the second:
 *
 *     [ 256 bytes, folded on `steps` times ][ a ][ b ][ c ]
 *
 * A step is 8 multiplications of 64 bytes, where one starts every two cycles, and 5 words of each
 * stream, at the three cycles of a CRC instruction: 16 and 15 cycles, with no more than one CRC
 * instruction per cycle. Cores with AVX-512 but without VPCLMULQDQ, which slow down when they use
 * wide registers, do not come here.
 *
 * Long buffers are cut into chunks, which bounds the table. Chunks but the last start from 0, and
 * the CRC so far is moved over each of them, so that chunks do not wait for each other.
 */

#include "util/crc32c.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "util/crc32c-powers.h"

#define SSE42 __attribute__((target("sse4.2,pclmul")))
#define AVX512 __attribute__((target("sse4.2,pclmul,avx512f,avx512vl,vpclmulqdq")))
#define INLINE static inline __attribute__((always_inline))

#define STREAMS_MIN_WORDS 10  /* below this, joining the streams costs more than they save */
#define STREAMS_MAX_WORDS 512 /* two thirds of it are within the table */

#define VECTORS 4
#define VECTOR_WORDS (8 * VECTORS) /* 64-bit words in the registers */
#define STREAM_WORDS 5             /* words of each stream per step */
#define STEP_WORDS (VECTOR_WORDS + 3 * STREAM_WORDS)
#define CHUNK_BYTES ((size_t)CRC32C_CHUNK_WORDS * 8)

/* The longest distances: an sse42 stream's, and that of the first word in the registers when the
   last chunk leaves one word less than a step to the streams alone. */
_Static_assert(STREAMS_MAX_WORDS - STREAMS_MAX_WORDS / 3 < CRC32C_POWERS, "table too short");
_Static_assert((CRC32C_CHUNK_WORDS - VECTOR_WORDS) / STEP_WORDS * 3 * STREAM_WORDS + STEP_WORDS +
                       VECTOR_WORDS <= CRC32C_POWERS, "table too short");

/* Three streams over adjoining thirds of a number of words; c has what does not divide as well. */
struct streams {
    const uint8_t *p; /* the next word of a */
    size_t third;     /* words */
    uint64_t a, b, c;
};

SSE42 INLINE void streams_step(struct streams *s)
{
    s->a = _mm_crc32_u64(s->a, crc32c_load64(s->p));
    s->b = _mm_crc32_u64(s->b, crc32c_load64(s->p + 8 * s->third));
    s->c = _mm_crc32_u64(s->c, crc32c_load64(s->p + 16 * s->third));
    s->p += 8;
}

/* The steps from done on, and the words that are left of c. */
SSE42 INLINE void streams_finish(struct streams *s, size_t words, size_t done)
{
    for (size_t i = done; i < s->third; i++)
        streams_step(s);
    for (size_t i = 3 * s->third; i < words; i++, s->p += 8)
        s->c = _mm_crc32_u64(s->c, crc32c_load64(s->p + 16 * s->third));
}

SSE42 INLINE __m128i move(uint64_t crc, uint32_t power)
{
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi32_si128((int)power), 0);
}

/* a and b, moved to the end of c; in the low half. */
SSE42 INLINE __m128i streams_join(const struct streams *s, size_t words)
{
    return _mm_xor_si128(move(s->a, crc32c_powers[words - s->third]),
                         move(s->b, crc32c_powers[words - 2 * s->third]));
}

SSE42 static uint32_t streams_chunk(uint32_t crc, const uint8_t *p, size_t words)
{
    struct streams s = { .p = p, .third = words / 3, .a = crc };

    streams_finish(&s, words, 0);
    return (uint32_t)(_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(streams_join(&s, words))) ^ s.c);
}

/* Less than 8 bytes. */
SSE42 INLINE uint32_t tail(uint32_t crc, const uint8_t *p, size_t len)
{
    if (len & 4) {
        struct le32 x;
        memcpy(&x, p, sizeof x);
        crc = _mm_crc32_u32(crc, le32_get(x));
        p += 4;
    }
    if (len & 2) {
        struct le16 x;
        memcpy(&x, p, sizeof x);
        crc = _mm_crc32_u16(crc, le16_get(x));
        p += 2;
    }
    return len & 1 ? _mm_crc32_u8(crc, *p) : crc;
}

SSE42 uint32_t crc32c_sse42(uint32_t crc, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    crc = ~crc;
    while (len >= 8 * STREAMS_MIN_WORDS) {
        size_t words = len / 8 < STREAMS_MAX_WORDS ? len / 8 : STREAMS_MAX_WORDS;
        crc = streams_chunk(crc, p, words);
        p += 8 * words;
        len -= 8 * words;
    }
    for (; len >= 8; len -= 8, p += 8)
        crc = (uint32_t)_mm_crc32_u64(crc, crc32c_load64(p));
    return ~tail(crc, p, len);
}

/* The i-th 64 bytes at p. */
AVX512 INLINE __m512i load(const uint8_t *p, int i)
{
    return _mm512_loadu_si512(p + 64 * i);
}

/* Each lane of x by its pair of powers (low: d, high: d + 1), and sum. */
AVX512 INLINE __m512i fold(__m512i x, __m512i powers, __m512i sum)
{
    __m512i first = _mm512_clmulepi64_epi128(x, powers, 0x10);
    __m512i second = _mm512_clmulepi64_epi128(x, powers, 0x01);

    /* `second` comes first because gcc overwrites that operand, and would copy `first`. */
    return _mm512_ternarylogic_epi64(second, first, sum, 0x96 /* XOR of the three */);
}

/* The pairs of powers that move the four lanes of a register over themselves and d more words. */
AVX512 INLINE __m512i lane_powers(size_t d)
{
    __m256i eight = _mm256_loadu_si256((const __m256i *)(const void *)&crc32c_powers[d]);
    __m512i last_first = _mm512_cvtepu32_epi64(eight);

    return _mm512_shuffle_i64x2(last_first, last_first, _MM_SHUFFLE(0, 1, 2, 3));
}

/* The registers, moved over d words, as one lane. */
AVX512 INLINE __m128i vectors_join(const __m512i *x, size_t d)
{
    __m512i front = fold(x[0], lane_powers(d + 24), _mm512_setzero_si512());
    __m512i back = fold(x[2], lane_powers(d + 8), _mm512_setzero_si512());
    front = fold(x[1], lane_powers(d + 16), front);
    back = fold(x[3], lane_powers(d), back);

    __m512i sum = _mm512_xor_si512(front, back);
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* VECTOR_WORDS to CRC32C_CHUNK_WORDS words. */
AVX512 static uint32_t mixed_chunk(uint32_t crc, const uint8_t *p, size_t words)
{
    size_t steps = (words - VECTOR_WORDS) / STEP_WORDS;
    size_t vector_words = VECTOR_WORDS * (steps + 1), stream_words = words - vector_words;
    struct streams s = { .p = p + 8 * vector_words, .third = stream_words / 3 };
    __m512i powers = _mm512_broadcast_i32x4(
        _mm_set_epi64x(crc32c_powers[VECTOR_WORDS + 1], crc32c_powers[VECTOR_WORDS]));
    __m512i x[VECTORS];

    x[0] = _mm512_xor_si512(load(p, 0), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    x[1] = load(p, 1);
    x[2] = load(p, 2);
    x[3] = load(p, 3);
    for (size_t step = 0; step < steps; step++) {
        p += 8 * VECTOR_WORDS;
        x[0] = fold(x[0], powers, load(p, 0));
        streams_step(&s);
        x[1] = fold(x[1], powers, load(p, 1));
        streams_step(&s);
        x[2] = fold(x[2], powers, load(p, 2));
        streams_step(&s);
        x[3] = fold(x[3], powers, load(p, 3));
        streams_step(&s);
        streams_step(&s);
    }
    streams_finish(&s, stream_words, STREAM_WORDS * steps);

    __m128i sum = _mm_xor_si128(vectors_join(x, stream_words),
                                _mm_slli_si128(streams_join(&s, stream_words), 8));
    uint64_t first = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
    return (uint32_t)(_mm_crc32_u64(first, (uint64_t)_mm_extract_epi64(sum, 1)) ^ s.c);
}

AVX512 uint32_t crc32c_avx512(uint32_t crc, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    if (len < 8 * VECTOR_WORDS)
        return crc32c_sse42(crc, buf, len);
    crc = ~crc;
    for (; len > CHUNK_BYTES; len -= CHUNK_BYTES, p += CHUNK_BYTES) {
        uint32_t chunk = mixed_chunk(0, p, CRC32C_CHUNK_WORDS);
        uint64_t moved = (uint64_t)_mm_cvtsi128_si64(move(crc, CRC32C_CHUNK_POWER));
        crc = (uint32_t)_mm_crc32_u64(0, moved) ^ chunk;
    }
    if (len >= 8 * VECTOR_WORDS) {
        crc = mixed_chunk(crc, p, len / 8);
        p += len / 8 * 8;
        len %= 8;
    }
    return crc32c_sse42(~crc, p, len);
}

bool crc32c_sse42_supported(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

bool crc32c_avx512_supported(void)
{
    return crc32c_sse42_supported() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
}

#endif
