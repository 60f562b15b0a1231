/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The footer of a fixed VHD: Microsoft's VHD specification 1.0. */

#include "format/vhd.h"
#include "util/bits.h"

#include "expect.h"

#define AT (10 * M) /* where the footer lies */
#define ID "2dc27766-f623-4200-9d64-115e9bfd4a08"
#define SECTORS(mib) ((mib) * 2048ull)

static struct vhd_footer footer_of(uint64_t size)
{
    struct guid id;

    assert_true(guid_parse(ID, &id));
    return vhd_footer_for(size, &id, 946684800 + 0x01020304);
}

static uint64_t get_big(const uint8_t *p, unsigned width)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < width; i++)
        x = x << 8 | p[i];
    return x;
}

static void put_big(uint8_t *p, uint64_t x, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        p[i] = (uint8_t)(x >> (8 * (width - 1 - i)));
}

/* As the specification says it: the complement of the sum, the field itself left out. */
static void put_checksum(uint8_t d[512])
{
    uint32_t sum = 0;

    for (int i = 0; i < 512; i++)
        sum += i >= 64 && i < 68 ? 0u : d[i];
    put_big(d + 64, ~sum, 4);
}

/* ---- Geometry ------------------------------------------------------------------------------- */

struct geometry_row {
    const char *name;
    uint64_t sectors;
    uint16_t cylinders;
    uint8_t heads, track;
};

static const struct geometry_row geometries[] = {
    { "none", 0, 0, 4, 17 },
    { "one track of four heads", 68, 1, 4, 17 },
    { "20 MiB", SECTORS(20), 602, 4, 17 },
    { "40 MiB: five heads", SECTORS(40), 963, 5, 17 },
    { "100 MiB", SECTORS(100), 1003, 12, 17 },
    { "last with 17 sectors", 1024 * 16 * 17 - 1, 1023, 16, 17 },
    { "first with 31 sectors", 1024 * 16 * 17, 561, 16, 31 },
    { "last with 31 sectors", 1024 * 16 * 31 - 1, 1023, 16, 31 },
    { "first with 63 sectors", 1024 * 16 * 31, 503, 16, 63 },
    { "1 GiB", SECTORS(1024), 2080, 16, 63 },
    { "last with 63 sectors", 65535 * 16 * 63 - 1, 65534, 16, 63 },
    { "first with 255 sectors", 65535 * 16 * 63, 16191, 16, 255 },
    { "largest", 65535 * 16 * 255, 65535, 16, 255 },
    { "beyond", SECTORS(1024 * 1024), 65535, 16, 255 },
};

static void geometry_is_the_specifications(void **state)
{
    const struct geometry_row *row = *state;
    struct vhd_geometry g = vhd_geometry_of(row->sectors);

    assert_int_equal(g.cylinders, row->cylinders);
    assert_int_equal(g.heads, row->heads);
    assert_int_equal(g.sectors, row->track);
    assert_true(vhd_geometry_sectors(g) <= row->sectors);
}

/* 602 * 4 * 17 sectors can be said exactly, 20 MiB cannot: 40960 sectors become the same. */
static void footer_has_that_geometry(void **state)
{
    static const uint64_t sizes[] = { 602 * 4 * 17 * 512, 20 * M };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct vhd_geometry g = footer_of(sizes[i]).geometry;
        assert_int_equal(g.cylinders, 602);
        assert_int_equal(g.heads, 4);
        assert_int_equal(g.sectors, 17);
    }
}

/* ---- The footer ----------------------------------------------------------------------------- */

static void footer_stands_as_specified(void **state)
{
    struct vhd_footer f = footer_of(3 * G + 512);
    uint8_t d[512], good[512];

    (void)state;
    vhd_footer_encode(&f, d);
    assert_memory_equal(d, "conectix", 8);
    assert_int_equal(get_big(d + 8, 4), 2);
    assert_int_equal(get_big(d + 12, 4), 0x10000);
    assert_true(get_big(d + 16, 8) == UINT64_MAX);
    assert_int_equal(get_big(d + 24, 4), 0x01020304);
    assert_memory_equal(d + 28, "win ", 4); /* for QEMU */
    assert_memory_equal(d + 36, "Wi2k", 4);
    assert_true(get_big(d + 40, 8) == 3 * G + 512);
    assert_true(get_big(d + 48, 8) == 3 * G + 512);
    assert_int_equal(get_big(d + 56, 4), 0x1861103f);
    assert_int_equal(get_big(d + 60, 4), 2);
    for (int i = 84; i < 512; i++)
        assert_int_equal(d[i], 0);
    memcpy(good, d, sizeof d);
    put_checksum(good);
    assert_memory_equal(good, d, sizeof d);
}

static void footer_survives_the_disk(void **state)
{
    struct vhd_footer f = footer_of(2040 * G), found = { 0 };
    struct vhdx_error err = blank_error();
    uint8_t d[512];

    (void)state;
    vhd_footer_encode(&f, d);
    assert_int_equal(vhd_footer_decode(d, AT, &found, &err), 0);
    assert_untouched(&err);
    assert_true(found.size == f.size);
    assert_int_equal(found.time, f.time);
    assert_int_equal(found.geometry.cylinders, f.geometry.cylinders);
    assert_int_equal(found.geometry.heads, f.geometry.heads);
    assert_int_equal(found.geometry.sectors, f.geometry.sectors);
    assert_true(guid_equal(&found.id, &f.id));
}

static void time_outside_the_field_is_its_nearest(void **state)
{
    struct guid id = { { 0 } };

    (void)state;
    assert_int_equal(vhd_footer_for(512, &id, 0).time, 0);
    assert_int_equal(vhd_footer_for(512, &id, 946684801).time, 1);
    assert_true(vhd_footer_for(512, &id, INT64_MAX).time == UINT32_MAX);
}

static void any_changed_byte_is_found(void **state)
{
    struct vhd_footer f = footer_of(20 * M), unchanged = { 0 }, zero = { 0 };
    uint8_t d[512];

    (void)state;
    vhd_footer_encode(&f, d);
    for (unsigned i = 0; i < sizeof d; i++) {
        struct vhdx_error err = blank_error();
        d[i] ^= 0x10;
        if (i < 8)
            expect_error(vhd_footer_decode(d, AT, &unchanged, &err), &err, VHDX_E_CORRUPT, AT,
                         "VHD footer|cookie|conectix");
        else
            expect_error(vhd_footer_decode(d, AT, &unchanged, &err), &err, VHDX_E_CHECKSUM,
                         AT + 64, "VHD footer|checksum|must be");
        d[i] ^= 0x10;
    }
    assert_memory_equal(&unchanged, &zero, sizeof zero);
}

struct refused_row {
    const char *name;
    unsigned at, width; /* the field */
    uint64_t value;
    int code;
    const char *words;
};

static const struct refused_row refused[] = {
    { "version 2", 12, 4, 0x20000, VHDX_E_UNSUPPORTED, "version is 0x00020000|must be 1.0" },
    { "dynamic", 60, 4, 3, VHDX_E_UNSUPPORTED, "type is 3|must be 2 (fixed)" },
    { "size of 0", 48, 8, 0, VHDX_E_CORRUPT, "size is 0|multiple of 512" },
    { "size of half a sector", 48, 8, 256, VHDX_E_CORRUPT, "size is 256|multiple of 512" },
    { "size too large", 48, 8, 2040 * G + 512, VHDX_E_CORRUPT, "size is|at most 2040 GiB" },
};

static void footer_is_refused(void **state)
{
    const struct refused_row *row = *state;
    struct vhd_footer f = footer_of(20 * M), ret;
    struct vhdx_error err = blank_error();
    uint8_t d[512];

    vhd_footer_encode(&f, d);
    put_big(d + row->at, row->value, row->width);
    put_checksum(d);
    expect_error(vhd_footer_decode(d, AT, &ret, &err), &err, row->code, AT + row->at, row->words);
}

int main(void)
{
    struct suite s = { .count = 0 };

    ADD_ROWS(&s, geometry_is_the_specifications, geometries);
    ADD_TEST(&s, footer_has_that_geometry);
    ADD_TEST(&s, footer_stands_as_specified);
    ADD_TEST(&s, footer_survives_the_disk);
    ADD_TEST(&s, time_outside_the_field_is_its_nearest);
    ADD_TEST(&s, any_changed_byte_is_found);
    ADD_ROWS(&s, footer_is_refused, refused);
    return run_suite("vhd", &s, NULL, NULL);
}
