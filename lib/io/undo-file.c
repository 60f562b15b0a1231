/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Reading undo files; see undo-file.h and undo.c. What a file says is believed only after its
 * checksum, and a wrong checksum is forgiven only at the end, where a crash explains it.
 */

#include "io/undo-file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/ondisk.h"
#include "io/io.h"
#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/iszero.h"
#include "util/limits.h"

static const uint8_t header_signature[8] = "vhdxundo";
static const uint8_t record_signature[4] = "undo";

int undo_file_result(int r, struct vhdx_error *err)
{
    if (r < 0)
        fail_prefix(err, "undo file: ");
    return r;
}

static int read_file(const struct vhdx_io *file, void *buf, size_t len, uint64_t offset,
                     struct vhdx_error *err)
{
    return undo_file_result(io_pread(file, buf, len, offset, err), err);
}

/* ---- Sets of ranges ------------------------------------------------------------------------- */

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

/* Ranges in the order of a file, sorted and joined at once: a file chooses its order, and must not
   make each cost the length of the array. */
static int settle_ranges(struct ranges *set, struct vhdx_error *err)
{
    size_t count = 0;

    if (set->count > 0)
        qsort(set->items, set->count, sizeof *set->items, compare_ranges);
    for (size_t i = 0; i < set->count; i++) {
        const struct range *next = &set->items[i];
        struct range *last = count > 0 ? &set->items[count - 1] : NULL;
        if (last && next->start < last->end)
            return fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                        "undo file: record offset is %" PRIu64 ", must be at least %" PRIu64
                        ": another record covers the bytes before that", next->start, last->end);
        if (last && next->start == last->end)
            last->end = next->end;
        else
            set->items[count++] = *next;
    }
    set->count = count;
    return 0;
}

/* ---- The header ----------------------------------------------------------------------------- */

static uint32_t header_checksum(const struct undo_header_disk *d)
{
    return crc32c_without(d, sizeof *d, offsetof(struct undo_header_disk, checksum));
}

static int header_verify(const struct undo_header_disk *d, struct undo_info *ret,
                         struct vhdx_error *err)
{
    uint32_t checksum = header_checksum(d), version = le32_get(d->version);
    uint64_t size = le64_get(d->image_size);

    if (memcmp(d->signature, header_signature, sizeof d->signature) != 0)
        return fail(err, VHDX_E_INVALID, 0,
                    "undo file: header: signature is not \"vhdxundo\", must be: not an undo file");
    if (le32_get(d->checksum) != checksum)
        return fail(err, VHDX_E_CHECKSUM, offsetof(struct undo_header_disk, checksum),
                    "undo file: header: checksum is %#" PRIx32 ", must be %#" PRIx32,
                    le32_get(d->checksum), checksum);
    if (version != UNDO_VERSION)
        return fail(err, VHDX_E_UNSUPPORTED, offsetof(struct undo_header_disk, version),
                    "undo file: header: version is %" PRIu32 ", must be %u", version,
                    UNDO_VERSION);
    if (size > LIMIT_FILE_SIZE)
        return fail(err, VHDX_E_LIMIT, offsetof(struct undo_header_disk, image_size),
                    "undo file: header: image size is %" PRIu64 ", must be at most %" PRIu64, size,
                    (uint64_t)LIMIT_FILE_SIZE);
    if (d->image_name[UNDO_NAME_SIZE - 1] != 0)
        return fail(err, VHDX_E_CORRUPT, offsetof(struct undo_header_disk, image_name),
                    "undo file: header: image name has no end, must be at most %d bytes",
                    UNDO_NAME_SIZE - 1);
    *ret = (struct undo_info){ .image_size = size };
    memcpy(ret->identity, d->identity, sizeof ret->identity);
    memcpy(ret->image_name, d->image_name, sizeof ret->image_name);
    return 0;
}

void undo_header_make(const struct undo_info *info, const uint32_t marks[UNDO_MARKS],
                      struct undo_header_disk *ret)
{
    struct undo_info verified;

    *ret = (struct undo_header_disk){ .version = le32_make(UNDO_VERSION),
                                      .image_size = le64_make(info->image_size) };
    memcpy(ret->signature, header_signature, sizeof ret->signature);
    memcpy(ret->identity, info->identity, sizeof ret->identity);
    memcpy(ret->image_name, info->image_name, strlen(info->image_name));
    for (int i = 0; i < UNDO_MARKS; i++)
        ret->marks[i] = le32_make(marks[i]);
    ret->checksum = le32_make(header_checksum(ret));
    int r = header_verify(ret, &verified, NULL);
    assert(r == 0);
}

int undo_is_blank(const struct vhdx_io *file, bool *ret_blank, struct vhdx_error *err)
{
    struct undo_header_disk d = { 0 };
    uint64_t size;

    int r = undo_file_result(io_size(file, &size, err), err);
    if (r < 0)
        return r;
    *ret_blank = false;
    if (size > sizeof d)
        return 0;
    if (size > 0 && (r = read_file(file, &d, (size_t)size, 0, err)) < 0)
        return r;
    size_t len = (size_t)min_u64(size, sizeof d.signature);
    bool begins = memcmp(d.signature, header_signature, len) == 0 &&
                  (size < sizeof d || le32_get(d.checksum) != header_checksum(&d));
    *ret_blank = begins || is_zero(&d, sizeof d);
    return 0;
}

static int load_header(const struct vhdx_io *file, uint64_t size, struct undo_state *ret,
                       struct vhdx_error *err)
{
    struct undo_header_disk d = { 0 };

    int r = read_file(file, &d, (size_t)min_u64(size, sizeof d), 0, err);
    if (r < 0)
        return r;
    if (size < sizeof d && memcmp(d.signature, header_signature, sizeof d.signature) == 0)
        return fail(err, VHDX_E_TRUNCATED, size,
                    "undo file: header: file size is %" PRIu64 ", must be at least %zu: nothing "
                    "was saved, the image is unchanged", size, sizeof d);
    for (int i = 0; i < UNDO_MARKS; i++)
        ret->marks[i] = le32_get(d.marks[i]);
    return header_verify(&d, &ret->info, err);
}

/* ---- Records -------------------------------------------------------------------------------- */

static uint32_t record_checksum(const struct undo_record_disk *d)
{
    return crc32c_without(d, sizeof *d, offsetof(struct undo_record_disk, checksum));
}

/* Is this what was written as a record of this undo file? */
static bool is_whole(const struct undo_record_disk *d, const struct undo_info *info)
{
    return memcmp(d->signature, record_signature, sizeof d->signature) == 0 &&
           memcmp(d->identity, info->identity, sizeof d->identity) == 0 &&
           le32_get(d->checksum) == record_checksum(d);
}

/* Ranges are granules of the image, so that their number is bounded by what they cover. */
static int verify_range(const struct undo_record *r, const struct undo_info *info, uint64_t at,
                        struct vhdx_error *err)
{
    const uint64_t offset_at = at + offsetof(struct undo_record_disk, offset);
    const uint64_t length_at = at + offsetof(struct undo_record_disk, length);

    if (!is_aligned(r->offset, UNDO_GRANULE) || r->offset >= info->image_size)
        return fail(err, VHDX_E_CORRUPT, offset_at,
                    "undo file: record: offset is %" PRIu64 ", must be a multiple of %" PRIu64
                    " below the image's size %" PRIu64, r->offset, UNDO_GRANULE,
                    info->image_size);
    if (r->length == 0 || !range_fits(r->offset, r->length, info->image_size))
        return fail(err, VHDX_E_CORRUPT, length_at,
                    "undo file: record: length is %" PRIu64 ", must be 1 to %" PRIu64
                    ", where the image ends", r->length, info->image_size - r->offset);
    if (r->kind == UNDO_DATA && r->length > UNDO_PIECE)
        return fail(err, VHDX_E_LIMIT, length_at,
                    "undo file: record: length is %" PRIu64 ", must be at most %" PRIu64
                    " for data", r->length, UNDO_PIECE);
    if (!is_aligned(r->length, UNDO_GRANULE) && r->offset + r->length != info->image_size)
        return fail(err, VHDX_E_CORRUPT, length_at,
                    "undo file: record: length is %" PRIu64 ", must be a multiple of %" PRIu64
                    " or end with the image", r->length, UNDO_GRANULE);
    return 0;
}

static int verify_marker(const struct undo_record *r, uint64_t at, struct vhdx_error *err)
{
    const uint64_t length = r->kind == UNDO_SEAL ? min_u64(r->offset, UNDO_PIECE)
                            : r->kind == UNDO_MARK ? sizeof(struct header_disk) : 0;
    const uint64_t offset_max = r->kind == UNDO_SEAL ? LIMIT_FILE_SIZE
                                : r->kind == UNDO_MARK ? HEADER_OFFSET(UNDO_MARKS - 1) : 0;

    if (r->offset > offset_max)
        return fail(err, offset_max > 0 ? VHDX_E_LIMIT : VHDX_E_CORRUPT,
                    at + offsetof(struct undo_record_disk, offset),
                    "undo file: record: offset is %" PRIu64 ", must be at most %" PRIu64
                    " for kind %d", r->offset, offset_max, (int)r->kind);
    if (r->length != length)
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct undo_record_disk, length),
                    "undo file: record: length is %" PRIu64 ", must be %" PRIu64 " for kind %d",
                    r->length, length, (int)r->kind);
    return 0;
}

/* What a whole record says. */
static int record_verify(const struct undo_record_disk *d, const struct undo_info *info,
                         uint64_t at, struct undo_record *ret, struct vhdx_error *err)
{
    uint32_t kind = le32_get(d->kind);

    if (kind < UNDO_DATA || kind > UNDO_MARK)
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct undo_record_disk, kind),
                    "undo file: record: kind is %" PRIu32 ", must be 1 to 5", kind);
    struct undo_record made = { .kind = (enum undo_kind)kind,
                                .data_checksum = le32_get(d->data_checksum),
                                .offset = le64_get(d->offset),
                                .length = le64_get(d->length),
                                .settled = le64_get(d->settled) };
    if (made.settled < sizeof(struct undo_header_disk) || made.settled > at)
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct undo_record_disk, settled),
                    "undo file: record: settled is %" PRIu64 ", must be %zu to %" PRIu64
                    ", where the record begins", made.settled, sizeof(struct undo_header_disk), at);
    int r = kind == UNDO_DATA || kind == UNDO_ZEROS ? verify_range(&made, info, at, err)
                                                    : verify_marker(&made, at, err);
    if (r == 0)
        *ret = made;
    return r;
}

void undo_record_make(const struct undo_info *info, const struct undo_record *r, uint64_t at,
                      struct undo_record_disk *ret)
{
    struct undo_record verified;

    *ret = (struct undo_record_disk){ .kind = le32_make(r->kind),
                                      .data_checksum = le32_make(r->data_checksum),
                                      .offset = le64_make(r->offset),
                                      .length = le64_make(r->length),
                                      .settled = le64_make(r->settled) };
    memcpy(ret->signature, record_signature, sizeof ret->signature);
    memcpy(ret->identity, info->identity, sizeof ret->identity);
    ret->checksum = le32_make(record_checksum(ret));
    int code = record_verify(ret, info, at, &verified, NULL);
    assert(is_whole(ret, info) && code == 0);
}

/* ---- Going through a file ------------------------------------------------------------------- */

struct reader {
    const struct vhdx_io *file;
    const struct undo_info *info;
    uint64_t size; /* of the file, or where its records end */
    uint8_t *data; /* UNDO_PIECE bytes */
};

/*
 * Reads and verifies the record at offset at, and its data into data. *ret_torn: it is wrong in a
 * way in which a crash leaves what was not yet stable.
 */
static int read_record(const struct reader *f, uint64_t at, struct undo_record *ret,
                       uint64_t *ret_end, bool *ret_torn, struct vhdx_error *err)
{
    struct undo_record_disk d;

    *ret_torn = true;
    if (f->size - at < sizeof d)
        return fail(err, VHDX_E_TRUNCATED, at,
                    "undo file: record: %" PRIu64 " bytes are there, must be %zu", f->size - at,
                    sizeof d);
    int r = read_file(f->file, &d, sizeof d, at, err);
    if (r < 0) {
        *ret_torn = false;
        return r;
    }
    if (!is_whole(&d, f->info))
        return fail(err, VHDX_E_CHECKSUM, at,
                    "undo file: record: checksum is %#" PRIx32 ", must be %#" PRIx32
                    ", with the file's signature and identity", le32_get(d.checksum),
                    record_checksum(&d));
    *ret_torn = false;
    if ((r = record_verify(&d, f->info, at, ret, err)) < 0)
        return r;
    at += sizeof d;
    if (ret->kind == UNDO_DATA) {
        *ret_torn = f->size - at < ret->length;
        if (*ret_torn)
            return fail(err, VHDX_E_TRUNCATED, at,
                        "undo file: record: %" PRIu64 " bytes of data are there, must be %" PRIu64,
                        f->size - at, ret->length);
        if ((r = read_file(f->file, f->data, (size_t)ret->length, at, err)) < 0)
            return r;
        uint32_t checksum = crc32c(0, f->data, (size_t)ret->length);
        *ret_torn = checksum != ret->data_checksum;
        if (*ret_torn)
            return fail(err, VHDX_E_CHECKSUM, at,
                        "undo file: record: checksum of the data is %#" PRIx32
                        ", must be %#" PRIx32, checksum, ret->data_checksum);
        at += ret->length;
    }
    *ret_end = at;
    return 0;
}

/* Is there a whole record in buf that says that the byte at offset at was stable before it? */
static bool tells_of_more(const uint8_t *buf, size_t len, const struct undo_info *info, uint64_t at)
{
    struct undo_record_disk d;
    const uint8_t *p = buf, *end = buf + len;

    while (p < end && (p = memmem(p, (size_t)(end - p), record_signature,
                                  sizeof record_signature))) {
        if ((size_t)(end - p) < sizeof d)
            return false;
        memcpy(&d, p, sizeof d);
        if (is_whole(&d, info) && le64_get(d.settled) > at)
            return true;
        p++;
    }
    return false;
}

/*
 * What is wrong at offset at: the end that a crash tore, or a record that was once whole? A record
 * behind it that was written after a later flush knows.
 */
static int was_stable(const struct reader *f, uint64_t at, bool *ret_stable,
                      struct vhdx_error *err)
{
    const uint64_t step = UNDO_PIECE - sizeof(struct undo_record_disk);

    *ret_stable = false;
    for (uint64_t pos = at; pos < f->size && !*ret_stable; pos += step) {
        size_t len = (size_t)min_u64(f->size - pos, UNDO_PIECE);
        int r = read_file(f->file, f->data, len, pos, err);
        if (r < 0)
            return r;
        *ret_stable = tells_of_more(f->data, len, f->info, at);
    }
    return 0;
}

/* Takes in the record at offset at, which has been verified by itself. */
static int take_record(struct undo_state *s, const struct undo_record *r, uint64_t at,
                       struct vhdx_error *err)
{
    bool is_range = r->kind == UNDO_DATA || r->kind == UNDO_ZEROS;

    if (s->info.is_undoing || (s->info.is_sealed && r->kind != UNDO_UNDOING))
        return fail(err, VHDX_E_CORRUPT, at + offsetof(struct undo_record_disk, kind),
                    "undo file: record: kind is %d, must be %s", (int)r->kind,
                    s->info.is_undoing ? "none: restoring has begun"
                                       : "4: the file is sealed");
    s->settled = max_u64(s->settled, r->settled);
    if (is_range) {
        int code = ranges_reserve(&s->saved);
        if (code == -EFBIG)
            return fail(err, VHDX_E_LIMIT, at,
                        "undo file: number of records must be at most %" PRIu64, RANGES_COUNT_MAX);
        if (code < 0)
            return fail_nomem(err);
        s->saved.items[s->saved.count++] =
            (struct range){ r->offset, r->offset + r->length };
        s->info.saved_bytes += r->length;
    } else if (r->kind == UNDO_SEAL) {
        s->info.is_sealed = true;
        s->seal = *r;
    } else if (r->kind == UNDO_UNDOING) {
        s->info.is_undoing = true;
    }
    return 0;
}

/* Behind a seal there can only be what a crash left of the note that restoring has begun. */
static bool may_end_torn(const struct undo_state *s, uint64_t file_size)
{
    return !s->info.is_undoing &&
           (!s->info.is_sealed || file_size - s->end <= sizeof(struct undo_record_disk));
}

static int load_records(const struct reader *f, struct undo_state *s, struct vhdx_error *err)
{
    struct undo_record record;
    struct vhdx_error why;

    s->end = s->settled = sizeof(struct undo_header_disk);
    while (s->end < f->size) {
        bool torn, stable = true;
        uint64_t next = 0;
        int r = read_record(f, s->end, &record, &next, &torn, &why);
        if (r < 0) {
            int found = torn ? was_stable(f, s->end, &stable, err) : 0;
            if (found < 0)
                return found;
            if (!stable && may_end_torn(s, f->size))
                break;
            if (err)
                *err = why;
            return r;
        }
        if ((r = take_record(s, &record, s->end, err)) < 0)
            return r;
        s->end = next;
    }
    return settle_ranges(&s->saved, err);
}

void undo_state_free(struct undo_state *state)
{
    ranges_free(&state->saved);
}

int undo_load(const struct vhdx_io *file, struct undo_state *ret, struct vhdx_error *err)
{
    struct undo_state s = { 0 };
    struct reader f = { .file = file, .info = &s.info };

    int r = undo_file_result(io_size(file, &f.size, err), err);
    if (r < 0 || (r = load_header(file, f.size, &s, err)) < 0)
        return r;
    CLEANUP_FREE uint8_t *data = f.data = malloc(UNDO_PIECE);
    if (!data)
        return fail_nomem(err);
    r = load_records(&f, &s, err);
    if (r < 0) {
        undo_state_free(&s);
        return r;
    }
    *ret = s;
    return 0;
}

int undo_each(const struct vhdx_io *file, const struct undo_state *state,
              int (*fn)(const struct undo_record *r, const uint8_t *data, void *opaque,
                        struct vhdx_error *err),
              void *opaque, struct vhdx_error *err)
{
    CLEANUP_FREE uint8_t *data = malloc(UNDO_PIECE);
    struct reader f = { .file = file, .info = &state->info, .size = state->end, .data = data };
    struct undo_record record;
    uint64_t at = sizeof(struct undo_header_disk);
    bool torn;

    if (!data)
        return fail_nomem(err);
    while (at < f.size) {
        int r = read_record(&f, at, &record, &at, &torn, err);
        if (r == 0)
            r = fn(&record, record.kind == UNDO_DATA ? data : NULL, opaque, err);
        if (r < 0)
            return r;
    }
    return 0;
}
