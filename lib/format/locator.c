/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The parent locator; see locator.h. */

#include "format/locator.h"

#include <inttypes.h>

#include "util/utf16.h"

static const struct guid vhdx_type = GUID(B04AEFB7, D19E, 4A81, B789, 25B8E9445913);

bool locator_key_is(const struct locator_pair *p, const char *key)
{
    if (strlen(key) != p->key_units)
        return false;
    for (uint32_t i = 0; i < p->key_units; i++)
        if (p->key[2 * i] != (uint8_t)key[i] || p->key[2 * i + 1] != 0)
            return false;
    return true;
}

static bool same_key(const struct locator_pair *a, const struct locator_pair *b)
{
    return a->key_units == b->key_units && memcmp(a->key, b->key, 2 * (size_t)a->key_units) == 0;
}

static int verify_header(const struct locator_header_disk *d, uint32_t length, uint64_t at,
                         const struct problem_sink *sink, struct vhdx_error *err)
{
    struct guid type = guid_get(d->type);
    uint32_t count = le16_get(d->count);
    char text[GUID_TEXT_SIZE];

    if (!guid_equal(&type, &vhdx_type)) {
        guid_format(&type, text);
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_UNSUPPORTED, at,
                           "parent locator: type is {%s}, must be VHDX", text);
    }
    if (count > (length - sizeof *d) / sizeof(struct locator_entry_disk))
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT,
                           at + offsetof(struct locator_header_disk, count),
                           "parent locator: key count is %" PRIu32
                           ", must fit the item's length %" PRIu32,
                           count, length);
    if (count > LIMIT_LOCATOR_KEYS)
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_LIMIT,
                           at + offsetof(struct locator_header_disk, count),
                           "parent locator: key count is %" PRIu32 ", must be at most %d", count,
                           LIMIT_LOCATOR_KEYS);
    if (le16_get(d->reserved) != 0)
        return problem(sink, VHDX_P_LOCATOR_RESERVED, err, VHDX_E_CORRUPT,
                       at + offsetof(struct locator_header_disk, reserved),
                       "parent locator: reserved field is %#x, must be 0", le16_get(d->reserved));
    return 0;
}

/* A key or a value: not empty, whole UTF-16 units, inside the item, no NUL. */
static int verify_text(const uint8_t *buf, const char *what, uint32_t index, uint32_t offset,
                       uint32_t text_length, uint32_t length, uint64_t at,
                       const struct problem_sink *sink, struct vhdx_error *err)
{
    if (text_length == 0 || text_length % 2 != 0)
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                           "parent locator, entry %" PRIu32 ": %s length is %" PRIu32
                           ", must be even and above 0",
                           index, what, text_length);
    if (offset == 0 || !range_fits(offset, text_length, length))
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                           "parent locator, entry %" PRIu32 ": %s offset %" PRIu32
                           " + length %" PRIu32 " must lie inside the item of %" PRIu32 " bytes",
                           index, what, offset, text_length, length);
    for (uint32_t i = 0; i < text_length; i += 2)
        if (buf[offset + i] == 0 && buf[offset + i + 1] == 0)
            return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                               "parent locator, entry %" PRIu32 ": %s has a NUL at unit %" PRIu32
                               ", must have none",
                               index, what, i / 2);
    return 0;
}

static int decode_pair(const uint8_t *buf, uint32_t length, uint64_t at, uint32_t index,
                       const struct problem_sink *sink, struct locator *l, struct vhdx_error *err)
{
    struct locator_entry_disk d;
    size_t entry_at = sizeof(struct locator_header_disk) + index * sizeof d;
    struct locator_pair *p = &l->pairs[index];

    memcpy(&d, buf + entry_at, sizeof d);
    uint32_t key = le32_get(d.key_offset), value = le32_get(d.value_offset);
    uint16_t key_length = le16_get(d.key_length), value_length = le16_get(d.value_length);
    int r = verify_text(buf, "key", index, key, key_length, length, at + entry_at, sink, err);
    if (r == 0)
        r = verify_text(buf, "value", index, value, value_length, length, at + entry_at, sink, err);
    if (r < 0)
        return r;

    *p = (struct locator_pair){ .key = buf + key, .value = buf + value,
                                .key_units = key_length / 2, .value_units = value_length / 2 };
    for (uint32_t i = 0; i < index; i++)
        if (same_key(p, &l->pairs[i]))
            return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at + entry_at,
                               "parent locator, entry %" PRIu32 ": key is that of entry %" PRIu32
                               ", must be unique",
                               index, i);
    return 0;
}

static bool has_key(const struct locator *l, const char *key)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (locator_key_is(&l->pairs[i], key))
            return true;
    return false;
}

int locator_decode(const uint8_t *buf, uint32_t length, uint64_t at,
                   const struct problem_sink *sink, struct locator *ret, struct vhdx_error *err)
{
    struct locator_header_disk header;

    if (length < sizeof header)
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                           "parent locator: length is %" PRIu32 ", must be at least %zu", length,
                           sizeof header);
    memcpy(&header, buf, sizeof header);
    int r = verify_header(&header, length, at, sink, err);
    if (r < 0)
        return r;

    ret->count = le16_get(header.count);
    for (uint32_t i = 0; i < ret->count; i++) {
        r = decode_pair(buf, length, at, i, sink, ret, err);
        if (r < 0)
            return r;
    }
    if (!has_key(ret, "parent_linkage"))
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                           "parent locator: key parent_linkage is missing");
    if (!has_key(ret, "relative_path") && !has_key(ret, "volume_path") &&
        !has_key(ret, "absolute_win32_path"))
        return problem_end(sink, VHDX_P_LOCATOR_CONTENT, err, VHDX_E_CORRUPT, at,
                           "parent locator: path is missing: one of "
                           "relative_path, volume_path and absolute_win32_path must be there");
    return 0;
}

/* Appends a text at *end; false if there is no room. */
static bool encode_text(const char *text, uint8_t *buf, size_t size, size_t *end,
                        struct le32 *ret_offset, struct le16 *ret_length)
{
    size_t units = utf8_to_utf16le(text, buf + *end, min_u64((size - *end) / 2, UINT16_MAX / 2));

    if (units == SIZE_MAX || units == 0)
        return false;
    *ret_offset = le32_make((uint32_t)*end);
    *ret_length = le16_make((uint16_t)(2 * units));
    *end += 2 * units;
    return true;
}

uint32_t locator_encode(const struct vhdx_key_value *pairs, uint16_t count, uint8_t *ret,
                        size_t size)
{
    struct locator_header_disk header = { .type = guid_make(&vhdx_type),
                                          .count = le16_make(count) };
    size_t end = sizeof header + count * sizeof(struct locator_entry_disk);

    if (end > size)
        return 0;
    memcpy(ret, &header, sizeof header);
    for (uint16_t i = 0; i < count; i++) {
        struct locator_entry_disk d;
        if (!encode_text(pairs[i].key, ret, size, &end, &d.key_offset, &d.key_length) ||
            !encode_text(pairs[i].value, ret, size, &end, &d.value_offset, &d.value_length))
            return 0;
        memcpy(ret + sizeof header + i * sizeof d, &d, sizeof d);
    }
    return (uint32_t)end;
}
